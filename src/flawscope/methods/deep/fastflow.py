"""The flows of fastflow, their training and their graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from flawscope.core.types import Array
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import ChannelMoments, mean_shown, to_grid
from flawscope.methods.deep.canvases import LevelBatches, Levels, load_canvases, load_levels
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Course, identity, run, seeded
from flawscope.methods.fastflow import FastflowConfig
from flawscope.methods.features import geometry

LIMIT = 1.0  # of the logarithm of a coupling's factors, either way: what is far off grows at every step
QUIET = 0.1  # of the whole map's deviation: a channel that varies less on good parts is not blown up to 1
MEASURED = 100  # canvases that tell each channel's mean and deviation on good parts
_BATCH = 8


def fit(config: FastflowConfig, data: FitData, context: FitContext) -> Any:
    """Train a flow for each level on good parts and return the bundle's graph."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    levels = load_levels(load_canvases(data.fit, context), context)
    with seeded(context.seed, "fastflow"):
        flows = nn.ModuleList(Flow(channels, config.couplings, config.width) for channels in where.channels)
    for index, flow in enumerate(flows):
        flow.measure(levels, index)
    objective = Surprise(flows)
    run(
        Course(
            name="Teaching",
            objective=objective,
            draw=LevelBatches(levels, config.training.batch, context.seed),
            settings=config.training,
            key=identity("fastflow", config, data, context),
        ),
        context,
    )
    head = Head(Unlikeliness(flows, where.grid_hw), where.grid_hw)
    return distance_graph(head, context, config, name="fastflow")


class Coupling(nn.Module):
    """One step: channels in another order, then the second half scaled and shifted as the first half says."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        self.order: torch.Tensor
        self.register_buffer("order", torch.randperm(channels))
        self.kept, self.changed = channels - channels // 2, channels // 2
        self.says = nn.Sequential(
            nn.Conv2d(self.kept, width, side, padding=side // 2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * self.changed, side, padding=side // 2),
        )
        for weights in self.says[2].parameters():
            nn.init.zeros_(weights)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next values (N, C, h, w) and the logarithm of the growth in volume (N, h, w)."""
        first, second = values[:, self.order].split([self.kept, self.changed], dim=1)
        factor, shift = self.says(first).chunk(2, dim=1)
        factor = LIMIT * torch.tanh(factor / LIMIT)
        return torch.cat([first, second * factor.exp() + shift], dim=1), factor.sum(1)


class Flow(nn.Module):
    """The couplings of one level, their convolutions 3x3 and 1x1 in turn."""

    def __init__(self, channels: int, couplings: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.couplings = nn.ModuleList(
            Coupling(channels, 1 if index % 2 else 3, width) for index in range(couplings)
        )
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("deviation", torch.ones(1, channels, 1, 1))

    def measure(self, levels: Levels, index: int) -> None:
        """Take over mean and deviation of each channel of a level of good parts, after normalisation."""
        moments = ChannelMoments()
        for part in _parts(len(levels)):
            values = layer_normalised(levels.tensors(part)[index])
            moments.add(values, torch.from_numpy(levels.shares[part]))
        mean, deviation = moments.figures(least=QUIET)
        self.mean.copy_(mean.view_as(self.mean))
        self.deviation.copy_(deviation.view_as(self.deviation))

    def forward(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energy and growth per channel of each position of a level (N, C, h, w), each (N, h, w): half
        the noise's squared length, and the logarithm of the growth in volume. Energy less growth is -log
        likelihood, up to a constant."""
        values = (layer_normalised(level) - self.mean) / self.deviation
        growth = torch.zeros_like(values[:, 0])
        for coupling in self.couplings:
            values, grown = coupling(values)
            growth = growth + grown
        return 0.5 * values.square().mean(1), growth / self.channels


def layer_normalised(level: torch.Tensor) -> torch.Tensor:
    """Return each map (N, C, h, w) with mean 0 and variance 1 over all its channels and positions."""
    # first over each channel's positions, then over channels: one long float32 sum would lose digits
    centred = level - level.mean((2, 3), keepdim=True).mean(1, keepdim=True)
    variance = centred.square().mean((2, 3), keepdim=True).mean(1, keepdim=True)
    return centred * torch.rsqrt(variance + 1e-5)


class Surprise(nn.Module):
    """The loss: -log likelihood per position and channel, averaged over the levels."""

    def __init__(self, flows: nn.ModuleList) -> None:
        super().__init__()
        self.flows = flows

    def forward(self, shares: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        losses = []
        for flow, level in zip(self.flows, levels, strict=True):
            energy, growth = flow(level)
            losses.append(mean_shown(energy - growth, shares))
        return torch.stack(losses).mean()


def _parts(count: int) -> list[Array]:
    """Return the indices of canvases to measure on, evenly drawn from all, in batches."""
    chosen = np.unique(np.linspace(0, count - 1, min(count, MEASURED)).round().astype(np.int64))
    return [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]


class Unlikeliness(nn.Module):
    """The distances: 1 - exp(-energy), averaged over the levels. Of noise as it should be that is about 0.4,
    and it stays below 1 however odd a place is."""

    def __init__(self, flows: nn.ModuleList, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.flows = flows
        self.grid_hw = grid_hw

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        """Return distances (N, h, w), 0 to 1."""
        maps = []
        for flow, level in zip(self.flows, levels, strict=True):
            energy, _ = flow(level)
            maps.append(to_grid((1 - torch.exp(-energy))[:, None], self.grid_hw)[:, 0])
        return torch.stack(maps).mean(0)
