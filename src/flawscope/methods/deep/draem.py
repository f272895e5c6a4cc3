"""The two networks of draem, the flaws they learn from, their training and their graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import nn
from torch.nn import functional

from flawscope.core.rng import derive
from flawscope.core.types import Array
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import mean_shown, to_grid
from flawscope.methods.deep.canvases import Canvases, drawn, load_canvases, load_shares, normalised
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Batch, Course, identity, run, seeded
from flawscope.methods.draem import DraemConfig
from flawscope.runtime.backbone import BackboneCard
from flawscope.synth.defects import PAINTERS, Marked, Wish, blended
from flawscope.synth.textures import random_texture

SMALLEST = 0.0005  # of the picture: the least that a simulated flaw covers
CONTRAST = (15.0, 120.0)  # grey levels of a painted flaw
_SHARE_CELL = 8  # px of the canvas: shares of judged picture are kept on so coarse a grid


def fit(config: DraemConfig, data: FitData, context: FitContext) -> Any:
    """Train both networks on good parts and return the bundle's graph."""
    height, width = context.preprocess.size_hw
    canvases = load_canvases(data.fit, context)
    shares = load_shares(canvases, context, (max(1, height // _SHARE_CELL), max(1, width // _SHARE_CELL)))
    card = context.backbone.card
    with seeded(context.seed, "draem"):
        pair = Pair(config.width, config.reduction, card)
    run(
        Course(
            name="Teaching",
            objective=Repairing(pair),
            draw=Flawed(canvases, shares, card, config, context.seed),
            settings=config.training,
            key=identity("draem", config, data, context),
        ),
        context,
    )
    grid_hw = (height // config.reduction, width // config.reduction)
    head = Head(Finding(pair), grid_hw, pixels=True, levels=False)
    return distance_graph(head, context, config, name="draem")


@dataclass(frozen=True, eq=False)
class Flawed:
    """Draws canvases, the same with simulated flaws, and where these are."""

    canvases: Canvases
    shares: Array  # float32 (n, h, w): how much of each cell shows judged picture
    card: BackboneCard
    config: DraemConfig
    seed: int

    def __call__(self, step: int) -> Batch:
        """Return good images, flawed images, masks (N, H, W) of 0 and 1, and shares."""
        rng = derive(self.seed, "flaws", step)
        chosen = drawn(len(self.canvases), self.config.training.batch, step=step, seed=self.seed)
        good = self.canvases.pixels[chosen]
        marked = [
            Marked(picture, np.zeros(picture.shape[:2], bool))
            if rng.random() < self.config.untouched
            else simulated(picture, rng, where=_judged(share, picture), config=self.config)
            for picture, share in zip(good, self.shares[chosen], strict=True)
        ]
        return (
            normalised(good, self.card),
            normalised(np.stack([each.pixels for each in marked]), self.card),
            torch.from_numpy(np.stack([each.mask for each in marked])).float(),
            torch.from_numpy(self.shares[chosen]),
        )


def _judged(share: Array, picture: Array) -> Array | None:
    """Return where a flaw may be, bool (H, W); None: anywhere."""
    if share.min() >= 1 or share.max() <= 0.5:
        return None
    size_wh = (picture.shape[1], picture.shape[0])
    judged: Array = cv2.resize(share, size_wh, interpolation=cv2.INTER_NEAREST) > 0.5
    return judged


def simulated(picture: Array, rng: Generator, *, where: Array | None, config: DraemConfig) -> Marked:
    """Return a picture, uint8 (H, W, 3), with one flaw: painted, or a texture blended in. Small ones are as
    frequent as large ones of ten times the area."""
    room = picture.shape[0] * picture.shape[1] if where is None else int(where.sum())
    area = room * np.exp(rng.uniform(np.log(SMALLEST), np.log(config.largest)))
    wish = Wish(area_px=max(4.0, float(area)), contrast=float(rng.uniform(*CONTRAST)), where=where)
    if rng.random() < config.painted:
        painter = PAINTERS[tuple(PAINTERS)[rng.integers(len(PAINTERS))]]
        return painter(picture, rng, wish=wish)
    texture = random_texture(rng, (picture.shape[0], picture.shape[1]))
    return blended(picture, rng, wish=wish, texture=texture)


class Hourglass(nn.Module):
    """Convolutions down to a coarse grid and up again; with `joined`, what was seen on the way down is handed
    over on the way up, as in a U-Net."""

    def __init__(self, channels_in: int, channels: int, width: int, *, depth: int, joined: bool) -> None:
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(depth + 1)]
        befores = [channels_in, *widths[:-1]]
        self.joined = joined
        self.down = nn.ModuleList(_block(a, b) for a, b in zip(befores, widths, strict=True))
        self.up = nn.ModuleList(
            _block(coarse + (fine if joined else 0), fine)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, H, W)."""
        values, seen = images, []
        for i, block in enumerate(self.down):
            values = block(functional.max_pool2d(values, 2) if i else values)
            seen.append(values)
        for block, fine in zip(self.up, seen[-2::-1], strict=True):
            values = to_grid(values, (fine.shape[2], fine.shape[3]))
            values = block(torch.cat([values, fine], 1) if self.joined else values)
        return self.last(values)


def _block(channels_in: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels_in, channels):
        layers += [
            nn.Conv2d(before, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class Pair(nn.Module):
    """The network that repairs, and the one that compares what it made with what it was given."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, width: int, reduction: int, card: BackboneCard) -> None:
        super().__init__()
        self.reduction = reduction
        self.repairing = Hourglass(3, 3, width, depth=3, joined=False)
        self.comparing = Hourglass(6, 2, width, depth=4, joined=True)
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1))

    def reduced(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the networks look at of normalised images: values of 0 to 1, smaller sides."""
        return functional.avg_pool2d(images * self.std + self.mean, self.reduction)

    def forward(self, looked_at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the repaired pictures (N, 3, h, w) and the logits of good and flawed (N, 2, h, w)."""
        repaired = self.repairing(looked_at)
        return repaired, self.comparing(torch.cat([looked_at, repaired], 1))


class Repairing(nn.Module):
    """The sum of the losses: squared error and SSIM of what was repaired, focal loss of what was found."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(
        self, good: torch.Tensor, flawed: torch.Tensor, masks: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of a batch."""
        wanted = self.pair.reduced(good)
        repaired, logits = self.pair(self.pair.reduced(flawed))
        # a cell is flawed where most of it is
        found = (functional.avg_pool2d(masks[:, None], self.pair.reduction)[:, 0] >= 0.5).long()
        loss = mean_shown((repaired - wanted).square().mean(1), shares)
        loss = loss + 1 - mean_shown(similarity(repaired, wanted).mean(1), shares)
        return loss + mean_shown(focal(logits, found), shares)


def focal(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the focal loss (Lin et al. 2017, gamma 2) position by position, (N, h, w)."""
    unlikely = functional.cross_entropy(logits, classes, reduction="none")
    return (1 - torch.exp(-unlikely)).square() * unlikely


def similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the SSIM (Wang et al. 2004: a Gaussian window of 11 pixels, deviation 1.5) of pictures (N, C, h,
    w) of 0 to 1, channel by channel and pixel by pixel; windows end at the border."""
    away = torch.arange(-5.0, 6.0, device=first.device, dtype=first.dtype)
    line = torch.exp(-0.5 * (away / 1.5) ** 2)

    def around(values: torch.Tensor) -> torch.Tensor:
        count = values.shape[1]
        down = (line / line.sum()).view(1, 1, -1, 1).expand(count, 1, -1, 1)
        values = functional.conv2d(values, down, padding=(5, 0), groups=count)
        return functional.conv2d(values, down.transpose(2, 3), padding=(0, 5), groups=count)

    # weights beyond the border are missing: the others count for more
    here = around(torch.ones_like(first[:1, :1]))
    mean_1, mean_2 = around(first) / here, around(second) / here
    variance_1 = around(first.square()) / here - mean_1.square()
    variance_2 = around(second.square()) / here - mean_2.square()
    together = around(first * second) / here - mean_1 * mean_2
    low, high = 0.01**2, 0.03**2
    return ((2 * mean_1 * mean_2 + low) * (2 * together + high)) / (
        (mean_1.square() + mean_2.square() + low) * (variance_1 + variance_2 + high)
    )


class Finding(nn.Module):
    """The distances: how probable a flaw is."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return probabilities (N, h, w)."""
        _, logits = self.pair(self.pair.reduced(images))
        return logits.softmax(1)[:, 1]
