"""How good features are for inspection: a plain feature bank over them, by one fixed protocol.

Each level at unit length, averaged three by three, laid side by side; a bank chosen by greedy cover among
sampled patches of the good pictures; a picture's score is the largest distance to the bank. There is nothing
to tune and nothing that depends on places or calibration, so that backbones are told apart, not methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from flawscope.core.rng import derive
from flawscope.metrics import ranking
from flawscope.pretraining.objective import embedded

Levels = Callable[
    [np.ndarray], Sequence[np.ndarray]
]  # uint8 (n, H, W, 3) -> levels (n, C, h, w), finest first

_DIRECTIONS = 64  # of the random projection in which the cover is chosen
_AT_A_TIME = 16
_SMOOTHED = 4.0  # pixels, deviation; of the map before pixels are ranked


@dataclass(frozen=True)
class Protocol:
    """Sizes of the probe."""

    bank: int = 4000
    candidates: int = 60_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a probe looks at: pictures of one product, uint8 (n, H, W, 3)."""

    good: np.ndarray  # to remember
    tested: np.ndarray
    is_bad: np.ndarray  # bool (tested,)
    masks: np.ndarray  # bool (tested, H, W), empty for good ones


@dataclass(frozen=True)
class Found:
    """AUROC over pictures and over pixels; None where one class is missing."""

    image: float | None
    pixel: float | None


def probe(levels_of: Levels, pictures: Pictures, protocol: Protocol) -> Found:
    """Return how well a feature bank tells defective pictures and pixels from good ones."""
    remembered = _patches(levels_of, pictures.good)
    rng = derive(protocol.seed, "probe")
    flat = remembered.permute(0, 2, 3, 1).reshape(-1, remembered.shape[1])
    chosen = rng.permutation(len(flat))[: protocol.candidates]
    bank = cover(flat[torch.from_numpy(chosen)], protocol.bank, seed=protocol.seed)
    size_hw = pictures.tested.shape[1:3]
    scores, maps = [], []
    for start in range(0, len(pictures.tested), _AT_A_TIME):
        tested = _patches(levels_of, pictures.tested[start : start + _AT_A_TIME])
        for features in tested:
            heat = distances(features.flatten(1).T, bank).reshape(features.shape[1:]).numpy()
            fine = cv2.resize(heat, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
            scores.append(float(fine.max()))
            maps.append(cv2.GaussianBlur(fine, (0, 0), _SMOOTHED)[::4, ::4])
    truth = pictures.masks[:, ::4, ::4].reshape(-1)
    pixel = ranking.auroc(np.stack(maps).reshape(-1), truth) if truth.any() else None
    image = ranking.auroc(np.array(scores), pictures.is_bad)
    return Found(image.value, None if pixel is None else pixel.value)


def cover(points: Tensor, count: int, *, seed: int) -> Tensor:
    """Return `count` of the points (n, C) that cover them greedily, seen in a random projection."""
    directions = derive(seed, "cover").standard_normal((points.shape[1], _DIRECTIONS)).astype(np.float32)
    seen = points @ torch.from_numpy(directions) / _DIRECTIONS**0.5
    squares = (seen * seen).sum(1)
    chosen = [int((seen - seen.mean(0)).square().sum(1).argmax())]
    nearest = torch.full((len(points),), torch.inf)
    for _ in range(min(count, len(points)) - 1):
        centre = seen[chosen[-1]]
        nearest = torch.minimum(nearest, squares - 2 * (seen @ centre) + centre @ centre)
        chosen.append(int(nearest.argmax()))
    return points[chosen]


def distances(queries: Tensor, bank: Tensor) -> Tensor:
    """Return the distance of each query (n, C) to its nearest of the bank (m, C): (n,)."""
    products = queries @ bank.T
    squared = (queries * queries).sum(1) + ((bank * bank).sum(1) - 2 * products).min(1).values
    return squared.clamp_min(0).sqrt()


def _patches(levels_of: Levels, pixels: np.ndarray) -> Tensor:
    """Return the embedding of pictures, float32 (n, C, h, w)."""
    kept = []
    with torch.no_grad():
        for start in range(0, len(pixels), _AT_A_TIME):
            levels = levels_of(pixels[start : start + _AT_A_TIME])
            kept.append(embedded([torch.from_numpy(np.asarray(level)) for level in levels]))
    return torch.cat(kept)
