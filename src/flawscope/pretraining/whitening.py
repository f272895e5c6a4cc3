"""A last linear layer that turns down what good patches of one product differ in.

Good patches and their nearest good neighbours in other photographs differ by light, noise and place; the
directions in which they do are no sign of a defect. Over drawn products, the covariance of these differences
is estimated for each level, and features are divided by its square root (within-class covariance
normalisation, Hatch et al. 2006). Feature banks bring levels to unit length afterwards; so that this stays
nearly linear, the direction that all features share is kept, and made the longest. The layer is a 1x1
convolution behind each level, a hundredth of the network's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flawscope.core.rng import derive
from flawscope.pretraining.networks import normalised
from flawscope.pretraining.objective import by_level
from flawscope.synth.episodes import Layout, episodes

LAYERS = "layers."  # how the names of the layer's weights begin
DRAWN = Layout(episodes=4, good=6, defective=1)


@dataclass(frozen=True)
class Estimate:
    """How the layer is estimated."""

    batches: int = 30  # of drawn products, four each
    seed: int = 777
    difficulty: float = 0.5
    power: float = 1.0  # 0 leaves features as they are, 1 whitens the differences fully
    kept: float = 2.0  # length of the shared direction beside all others together
    floor: float = 1e-3  # least variance, as a share of the largest


class Whitened(nn.Module):
    """A trunk whose levels, at unit length, go through one linear layer each."""

    def __init__(self, trunk: nn.Module, matrices: Sequence[Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        self.layers = nn.ModuleList()
        for matrix in matrices:
            layer = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False)
            layer.weight.data = matrix[:, :, None, None].float()
            self.layers.append(layer)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the levels of normalised pixels (N, 3, H, W), finest first."""
        levels = self.trunk(pixels)
        return [
            layer(level / level.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt())
            for layer, level in zip(self.layers, levels, strict=True)
        ]


def trunk_of(network: nn.Module) -> nn.Module:
    """Return a network without its whitening layer."""
    return network.trunk if isinstance(network, Whitened) else network


@dataclass(eq=False)
class _Sums:
    differences: Tensor  # (C, C), second moments of what neighbours differ in
    features: Tensor  # (C, C), second moments of features
    total: Tensor  # (C,) of features
    count: int = 0


def whitened(trunk: nn.Module, estimate: Estimate) -> Whitened:
    """Return a trunk in use with its whitening layer, estimated on drawn products."""
    trunk.eval()
    sums: list[_Sums] = []
    for number in range(estimate.batches):
        rng = derive(estimate.seed, "whitening", number)
        for photographs in episodes(rng, DRAWN, difficulty=estimate.difficulty).pixels:
            _add(trunk, photographs[: DRAWN.good], sums)
    return Whitened(trunk, [_matrix(one, estimate) for one in sums])


def _add(trunk: nn.Module, photographs: np.ndarray, sums: list[_Sums]) -> None:
    """Add the differences between patches of half of the good photographs and their nearest in the others."""
    with torch.no_grad():
        levels = by_level(trunk(normalised(torch.from_numpy(photographs)[None])))
        laid = [level.permute(0, 2, 3, 1) for level in levels]
        half = len(photographs) // 2
        asked, known = (
            torch.cat([level[part].flatten(0, 2) for level in laid], 1)
            for part in (slice(0, half), slice(half, None))
        )
        asked = asked[::2]
        nearest = (asked @ known.T - 0.5 * known.square().sum(1)).argmax(1)
        widths = [level.shape[3] for level in laid]
        parts = zip((asked - known[nearest]).split(widths, 1), asked.split(widths, 1), strict=True)
        for place, (difference, features) in enumerate(parts):
            if place == len(sums):
                square = torch.zeros(widths[place], widths[place])
                sums.append(_Sums(square, square.clone(), square[0].clone()))
            one = sums[place]
            one.differences += difference.T @ difference / len(difference)
            one.features += features.T @ features / len(features)
            one.total += features.mean(0)
            one.count += 1


def _matrix(sums: _Sums, estimate: Estimate) -> Tensor:
    """Return the layer of one level (C, C)."""
    shared = functional.normalize(sums.total.double(), dim=0)
    along = torch.outer(shared, shared)
    aside = torch.eye(len(shared), dtype=torch.float64) - along
    variances, directions = torch.linalg.eigh(aside @ (sums.differences.double() / sums.count) @ aside)
    variances = variances.clamp_min(0) + estimate.floor * variances.max()
    white = (directions * variances ** (-estimate.power / 2)) @ directions.T @ aside
    moments = sums.features.double() / sums.count
    others = torch.trace(white @ moments @ white.T).sqrt()
    length = estimate.kept * others / (shared @ moments @ shared).sqrt()
    return (white / length + along).float()
