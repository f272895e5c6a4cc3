"""The bottleneck and the decoder of reverse distillation, their training and their graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import cosine_distance, stage, to_grid
from flawscope.methods.deep.canvases import LevelBatches, load_canvases, load_levels, strides
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Course, identity, run, seeded
from flawscope.methods.features import Geometry, geometry
from flawscope.methods.reverse_distillation import ReverseDistillationConfig


def fit(config: ReverseDistillationConfig, data: FitData, context: FitContext) -> Any:
    """Train bottleneck and decoder on good parts and return the bundle's graph."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    strides_ = strides(context.backbone.card, by="reverse_distillation")
    levels = load_levels(load_canvases(data.fit, context), context)
    with seeded(context.seed, "reverse_distillation"):
        rebuilder = Rebuilder(where, strides_, config.width)
    run(
        Course(
            name="Teaching",
            objective=Rebuilding(rebuilder),
            draw=LevelBatches(levels, config.training.batch, context.seed),
            settings=config.training,
            key=identity("reverse_distillation", config, data, context),
        ),
        context,
    )
    head = Head(Unrebuilt(rebuilder, where.grid_hw), where.grid_hw)
    return distance_graph(head, context, config, name="reverse_distillation")


class Rebuilder(nn.Module):
    """The bottleneck (section 3.3 of the paper) and the decoder: levels in, levels rebuilt.

    Each level is led by strided convolutions to the coarsest one's grid; side by side they pass a residual
    stage to half of that grid, the one-class embedding. From there each stage of the decoder doubles the
    grid, and where a level has that grid, a 1x1 convolution gives the level.
    """

    def __init__(self, where: Geometry, strides_: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.grids = where.level_grids
        coarsest = strides_[-1]
        fused, leads = 0, []
        for stride, channels in zip(strides_, where.channels, strict=True):
            lead: list[nn.Module] = []
            while stride < coarsest:
                own = width * 2 * stride // strides_[0]
                lead += [_halving(channels, own)]
                stride, channels = 2 * stride, own
            leads.append(nn.Sequential(*lead))
            fused += channels
        self.leads = nn.ModuleList(leads)
        wide = 2 * width * coarsest // strides_[0]
        self.embed = stage(fused, wide, scale=2)
        stages, ends, stride = [], [], 2 * coarsest
        for wanted, channels in zip(reversed(strides_), reversed(where.channels), strict=True):
            pieces = []
            while stride > wanted:
                pieces.append(stage(wide, wide // 2, scale=0.5))
                stride, wide = stride // 2, wide // 2
            stages.append(nn.Sequential(*pieces))
            ends.append(nn.Conv2d(wide, channels, 1))
        self.stages, self.ends = nn.ModuleList(stages), nn.ModuleList(ends)

    def forward(self, *levels: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels (N, C, h, w) as rebuilt, finest first."""
        led = [lead(level) for lead, level in zip(self.leads, levels, strict=True)]
        values = self.embed(torch.cat(led, dim=1))
        rebuilt = []
        for piece, end, (height, width) in zip(self.stages, self.ends, reversed(self.grids), strict=True):
            # half of an odd grid, doubled again, is one too large
            values = piece(values)[:, :, :height, :width]
            rebuilt.append(end(values))
        return rebuilt[::-1]


def _halving(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def whole_distance(first: torch.Tensor, second: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return 1 - cosine similarity of two maps (N, C, h, w), each flattened to one vector in which a position
    counts by the share of it that shows judged picture, `shares` (N, H, W): (N,), 0 to 2."""
    weights = to_grid(shares[:, None], (first.shape[2], first.shape[3])).sqrt()
    flat = [(values * weights).flatten(1) for values in (first, second)]
    return 1 - functional.cosine_similarity(flat[0], flat[1], dim=1, eps=1e-6)


class Rebuilding(nn.Module):
    """The loss: how far each level as rebuilt is from the level, as directions of flattened maps, summed over
    the levels."""

    def __init__(self, rebuilder: Rebuilder) -> None:
        super().__init__()
        self.rebuilder = rebuilder

    def forward(self, shares: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        rebuilt = self.rebuilder(*levels)
        losses = [
            whole_distance(level, own, shares).mean() for level, own in zip(levels, rebuilt, strict=True)
        ]
        return torch.stack(losses).sum()


class Unrebuilt(nn.Module):
    """The distances: 1 - cosine similarity by position, summed over the levels on the finest grid."""

    def __init__(self, rebuilder: Rebuilder, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.rebuilder = rebuilder
        self.grid_hw = grid_hw

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        """Return distances (N, h, w), 0 to twice the number of levels."""
        maps = [
            # rounding may take 1 - 1 below 0
            to_grid(cosine_distance(level, own).clamp_min(0)[:, None], self.grid_hw)[:, 0]
            for level, own in zip(levels, self.rebuilder(*levels), strict=True)
        ]
        return torch.stack(maps).sum(0)
