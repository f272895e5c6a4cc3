"""The student of stfpm, its training and its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import mean_shown, stage, stem, to_grid
from flawscope.methods.deep.canvases import (
    Canvases,
    Levels,
    drawn,
    load_canvases,
    load_levels,
    normalised,
    strides,
)
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Batch, Course, identity, run, seeded
from flawscope.methods.features import Geometry, geometry
from flawscope.methods.stfpm import StfpmConfig
from flawscope.runtime.backbone import BackboneCard


def fit(config: StfpmConfig, data: FitData, context: FitContext) -> Any:
    """Train the student on good parts and return the bundle's graph."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    canvases = load_canvases(data.fit, context)
    levels = load_levels(canvases, context)
    with seeded(context.seed, "stfpm"):
        student = Student(where, strides(context.backbone.card, by="stfpm"), config.width)
    run(
        Course(
            name="Teaching",
            objective=Imitation(student),
            draw=PixelsAndLevels(
                canvases, levels, context.backbone.card, config.training.batch, context.seed
            ),
            settings=config.training,
            key=identity("stfpm", config, data, context),
        ),
        context,
    )
    head = Head(Disagreement(student, where.grid_hw), where.grid_hw, pixels=True)
    return distance_graph(head, context, config, name="stfpm")


@dataclass(frozen=True, eq=False)
class PixelsAndLevels:
    """Draws canvases together with what the teacher sees in them."""

    canvases: Canvases
    levels: Levels
    card: BackboneCard
    size: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """Return images, shares, and the teacher's levels."""
        chosen = drawn(len(self.canvases), self.size, step=step, seed=self.seed)
        images = normalised(self.canvases.pixels[chosen], self.card)
        return images, torch.from_numpy(self.levels.shares[chosen]), *self.levels.tensors(chosen)


class Student(nn.Module):
    """A ResNet-18 up to the coarsest level, each level led to the teacher's channels."""

    def __init__(self, where: Geometry, strides_: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(stem(width), stage(width, width))
        stages, leads, stride = [], [], 4
        for wanted, channels in zip(strides_, where.channels, strict=True):
            pieces = []
            while stride < wanted:
                pieces.append(stage(width, 2 * width, scale=2))
                stride, width = stride * 2, width * 2
            stages.append(nn.Sequential(*pieces))
            leads.append(nn.Conv2d(width, channels, 1))
        self.stages, self.leads = nn.ModuleList(stages), nn.ModuleList(leads)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels (N, C, h, w), finest first."""
        values, levels = self.stem(images), []
        for piece, lead in zip(self.stages, self.leads, strict=True):
            values = piece(values)
            levels.append(lead(values))
        return levels


def disagreement(taught: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return half the squared distance of the directions of two maps (N, C, h, w): (N, h, w), 0 to 2."""
    gap = functional.normalize(taught, dim=1) - functional.normalize(seen, dim=1)
    return 0.5 * gap.square().sum(1)


class Imitation(nn.Module):
    """The loss: the disagreement of student and teacher, summed over the levels."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: torch.Tensor, shares: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        losses = [
            mean_shown(disagreement(level, own), shares)
            for level, own in zip(levels, self.student(images), strict=True)
        ]
        return torch.stack(losses).sum()


class Disagreement(nn.Module):
    """The distances: the geometric mean of the levels' disagreements on the finest grid."""

    def __init__(self, student: Student, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.student = student
        self.grid_hw = grid_hw

    def forward(self, images: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return distances (N, h, w)."""
        product = torch.ones(())
        for level, own in zip(levels, self.student(images), strict=True):
            product = product * to_grid(disagreement(level, own)[:, None], self.grid_hw)[:, 0]
        # the root is steep at 0: a constant far below what noise gives keeps it finite
        return (product + 1e-12) ** (1 / len(levels))
