"""The teachers of efficientad: a backbone in its main directions, and a patch description network that learns
from a backbone on drawn textures."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from flawscope.core import digest, files
from flawscope.core.config import as_values
from flawscope.core.errors import DataError
from flawscope.core.rng import derive
from flawscope.core.types import Array, Fit, Json, Preprocess
from flawscope.methods.contract import FitContext
from flawscope.methods.deep.blocks import to_grid
from flawscope.methods.deep.canvases import Canvases, Levels, drawn, load_levels, normalised
from flawscope.methods.deep.loop import Batch, Course, run, seeded
from flawscope.methods.features import Geometry, Moments, principal
from flawscope.methods.settings import Training
from flawscope.runtime.backbone import BackboneCard
from flawscope.synth.textures import random_texture

VERSION = 1  # raised whenever the same recipe would give another teacher
_SIDE = 128  # px of a texture, about
_TEXTURES = 1000  # at most: seconds to draw and to look at
_SEED = 0  # not the training's: all trainings on a backbone share one teacher
_log = logging.getLogger(__name__)


class Description(nn.Sequential):
    """A patch description network, small: what it says of a place depends on 33x33 pixels around it.

    The widths of the paper are 128, 256 and 256, then the channels asked for. Each layer of an even kernel is
    padded so that, all in all, position (i, j) describes the pixels about (4i + 1, 4j + 1). `steadied` puts
    batch normalisation behind the inner layers, with which minutes teach far more.
    """

    def __init__(self, width: int, channels: int, *, steadied: bool = False) -> None:
        def norm(count: int) -> nn.Module:
            return nn.BatchNorm2d(count) if steadied else nn.Identity()

        super().__init__(
            _padded(3, width, 4, before=1),
            norm(width),
            nn.ReLU(),
            nn.AvgPool2d(2),
            _padded(width, 2 * width, 4, before=1),
            norm(2 * width),
            nn.ReLU(),
            nn.AvgPool2d(2),
            _padded(2 * width, 2 * width, 3, before=1),
            norm(2 * width),
            nn.ReLU(),
            _padded(2 * width, channels, 4, before=2),
        )


def _padded(channels_in: int, channels: int, side: int, *, before: int) -> nn.Sequential:
    after = side - 1 - before
    return nn.Sequential(
        nn.ReplicationPad2d((before, after, before, after)), nn.Conv2d(channels_in, channels, side)
    )


def described_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the grid on which a canvas of this size is described."""
    return size_hw[0] // 4, size_hw[1] // 4


class Directions(nn.Module):
    """A frozen backbone as a teacher: its levels in their main directions, on a grid of one's own."""

    def __init__(self, matrix: Array, offset: Array, where: Geometry, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        ends = np.cumsum(where.channels)
        self.parts = nn.ModuleList()
        for number, (end, own) in enumerate(zip(ends, where.channels, strict=True)):
            part = nn.Conv2d(own, matrix.shape[1], 1, bias=number == 0)
            part.weight.data = torch.from_numpy(matrix[end - own : end].T[:, :, None, None].copy())
            if part.bias is not None:
                part.bias.data = torch.from_numpy(offset.copy())
            self.parts.append(part)

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        """Return (N, C, h, w)."""
        found = [to_grid(part(level), self.grid_hw) for part, level in zip(self.parts, levels, strict=True)]
        return torch.stack(found).sum(0)


def directed(levels: Levels, where: Geometry, *, channels: int, grid_hw: tuple[int, int]) -> Directions:
    """Return the backbone as a teacher of so many channels: the main directions, turned at random, in which
    its levels vary over what these canvases show. Every channel of the levels counts alike. Raises DataError
    where they show no judged picture."""
    moments = Moments(sum(where.channels))
    for start in range(0, len(levels), 8):
        part = slice(start, start + 8)
        moments.add(_joined(levels, part).transpose(0, 2, 3, 1)[levels.shares[part] >= 0.5])
    if not moments.count:
        raise DataError("No position of a good part was seen", remedy="Check the region of interest")
    weights = 1 / np.sqrt(np.maximum(np.diag(moments.covariance), 1e-12))
    matrix, offset, _ = principal(moments, channels, weights=weights)
    turn = _turn(matrix.shape[1])
    return Directions((matrix @ turn).astype(np.float32), (offset @ turn).astype(np.float32), where, grid_hw)


def _turn(count: int) -> Array:
    """Return a random rotation float64 (count, count), always the same."""
    turn, _ = np.linalg.qr(derive(_SEED, "turn").standard_normal((count, count)))
    return np.asarray(turn)


@dataclass(frozen=True)
class Recipe:
    """What a teacher is made by."""

    width: int
    channels: int
    training: Training

    @property
    def textures(self) -> int:
        """How many textures it sees."""
        return min(_TEXTURES, self.training.steps * self.training.batch)

    def identity(self, context: FitContext) -> Json:
        """Return what decides the teacher: the backbone's content and this recipe."""
        content = digest.of_bytes(context.backbone.model.SerializeToString(deterministic=True))
        values = as_values(self)
        return {"teacher": VERSION, "backbone": content, "recipe": values, "side": _SIDE, "seed": _SEED}


def teacher(recipe: Recipe, context: FitContext, *, cache: Path) -> Description:
    """Return the teacher by this recipe: from the folder `cache`, or made now and kept there by content. A
    cache that cannot be read or written costs time, not the work."""
    with seeded(_SEED, "teacher"):
        network = Description(recipe.width, recipe.channels, steadied=True)
    identity = recipe.identity(context)
    place = cache / f"{context.backbone.card.name}-{digest.of_value(identity)[:32]}.safetensors"
    if _taken(network, place):
        context.progress.note(f"The teacher of {context.backbone.card.name} is at hand")
        return network
    targets = load_targets(recipe, context)
    course = Course(
        name="Distilling",
        objective=Copying(network),
        draw=TexturesAndTargets(targets, context.backbone.card, recipe.training.batch),
        settings=recipe.training,
        key=identity,
    )
    run(course, context)
    try:
        with files.replacing(place) as temporary:
            save_file(network.state_dict(), temporary)
    except OSError as error:
        _log.warning("The teacher cannot be cached: %s", error)
    return network


def _taken(network: Description, place: Path) -> bool:
    if not place.is_file():
        return False
    try:
        network.load_state_dict(load_file(place))
    except (OSError, SafetensorError, RuntimeError) as error:
        _log.warning("The cached teacher %s is damaged and will be made again: %s", place, error)
        return False
    return True


@dataclass(frozen=True, eq=False)
class Targets:
    """Textures, and what a teacher shall say of them."""

    pixels: Array  # uint8 (n, s, s, 3)
    values: Array  # float16 (n, channels, h, w), on the grid of the backbone's finest level


def load_targets(recipe: Recipe, context: FitContext) -> Targets:
    """Draw textures and let the backbone look at them."""
    card = context.backbone.card
    coarsest = max(level.stride for level in card.levels)
    side = coarsest * max(1, round(_SIDE / coarsest))
    pixels = np.stack(
        [random_texture(derive(_SEED, "texture", i), (side, side)) for i in range(recipe.textures)]
    )
    whole = np.tile(np.array([[0, 0, side, side]], np.float32), (len(pixels), 1))
    preprocess = Preprocess(size_hw=(side, side), fit=Fit.STRETCH, mean=card.mean, std=card.std)
    levels = load_levels(
        Canvases(pixels, whole, np.arange(len(pixels)), whole.astype(np.int32)),
        FitContext(context.backbone, preprocess, threads=context.threads, progress=context.progress),
        name="Looking at textures",
    )
    return Targets(pixels, directions(levels, recipe.channels))


def directions(levels: Levels, channels: int) -> Array:
    """Return the levels, joined on the finest grid, in their main directions turned at random: float16 (n,
    channels, h, w), of mean 0 and, over all channels, mean square 1.

    Every channel of the levels counts alike (mean 0, deviation 1) before the directions are looked for.
    """
    joined = np.concatenate([_joined(levels, slice(i, i + 8)) for i in range(0, len(levels), 8)])
    flat = joined.transpose(1, 0, 2, 3).reshape(joined.shape[1], -1)  # (C, positions), float32
    mean = flat.mean(1, keepdims=True, dtype=np.float64)
    spread = np.maximum(flat.std(1, keepdims=True, dtype=np.float64), 1e-6)
    flat = ((flat - mean) / spread).astype(np.float32)
    _, vectors = np.linalg.eigh(flat @ flat.T / flat.shape[1])
    main = vectors[:, ::-1][:, :channels]
    values = (main @ _turn(main.shape[1])).T.astype(np.float32) @ flat
    values /= max(math.sqrt(float(np.square(values).mean())), 1e-6)
    count, _, rows, columns = joined.shape
    targets: Array = values.reshape(-1, count, rows, columns).transpose(1, 0, 2, 3).astype(np.float16)
    return targets


def _joined(levels: Levels, part: slice) -> Array:
    found = levels.tensors(np.arange(len(levels))[part])
    grid = (found[0].shape[2], found[0].shape[3])
    joined: Array = torch.cat([to_grid(level, grid) for level in found], 1).numpy()
    return joined


@dataclass(frozen=True, eq=False)
class TexturesAndTargets:
    """Draws textures together with what a teacher shall say of them."""

    targets: Targets
    card: BackboneCard
    size: int

    def __call__(self, step: int) -> Batch:
        """Return normalised textures and targets."""
        chosen = drawn(len(self.targets.pixels), self.size, step=step, seed=_SEED)
        values = torch.from_numpy(self.targets.values[chosen]).float()
        return normalised(self.targets.pixels[chosen], self.card), values


class Copying(nn.Module):
    """The loss: the mean square of what the network says amiss."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> Any:
        """Return the loss of a batch."""
        said = self.network(images)
        return functional.mse_loss(said, to_grid(targets, (said.shape[2], said.shape[3])))
