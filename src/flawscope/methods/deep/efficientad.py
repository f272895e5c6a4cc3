"""Student and autoencoder of efficientad, their training and their graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from flawscope.core.rng import derive
from flawscope.core.types import Array, Sample
from flawscope.methods.backbones import default_cache_dir
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import ChannelMoments
from flawscope.methods.deep.canvases import (
    Canvases,
    Levels,
    drawn,
    load_canvases,
    load_levels,
    load_shares,
    normalised,
)
from flawscope.methods.deep.description import Description, Recipe, described_hw, directed, teacher
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Batch, Course, identity, run, seeded
from flawscope.methods.efficientad import EfficientadConfig
from flawscope.methods.features import Moments, geometry
from flawscope.methods.places import Places, usual
from flawscope.methods.settings import Training
from flawscope.runtime.backbone import BackboneCard
from flawscope.synth.textures import random_texture

QUANTILES = (0.9, 0.995)  # of a map on good parts, between which it counts as one tenth
_HELD_OUT = 0.1  # of the parts; below ten parts all serve for both
_MEASURED = 64  # canvases at most, by which channels and maps are normalised
_BATCH = 4
_QUIET = 1e-4  # the least deviation of a channel
_LEAST_VARIANCE = 1e-3  # of a difference in any direction, as a share of the largest


def fit(config: EfficientadConfig, data: FitData, context: FitContext) -> Any:
    """Train student and autoencoder on good parts and return the bundle's graph."""
    size_hw = context.preprocess.size_hw
    grid_hw = described_hw(size_hw)
    canvases = load_canvases(data.fit, context)
    shares = load_shares(canvases, context, grid_hw)
    kept, held_out = divided(data.fit, canvases, context.seed)
    channels = min(3 * config.width, sum(level.channels for level in context.backbone.card.levels))
    levels = load_levels(canvases, context) if config.teacher == "backbone" else None
    view = View(canvases, shares, context.backbone.card, levels)
    taught = Normalised(_teacher(config, levels, context, channels=channels))
    taught.measure(view, _some(kept, context.seed))
    with seeded(context.seed, "efficientad"):
        trio = Trio(
            taught,
            Description(config.width, 2 * channels),
            Autoencoder(size_hw, grid_hw, config.code, channels),
        )
    course = Course(
        name="Teaching",
        objective=Teaching(trio, config.hard, config.penalty),
        draw=CanvasesAndTextures(view, kept, config.training.batch, context.seed),
        settings=config.training,
        key=identity("efficientad", config, data, context),
    )
    run(course, context)
    oddness = Oddness(trio, config.arrangement)
    measured = _some(held_out, context.seed)
    oddness.measure(view, measured)
    places = oddness.usual(view, measured, strength=config.by_place)
    head = Head(oddness, grid_hw, pixels=True, levels=levels is not None, places=places)
    return distance_graph(head, context, config, name="efficientad")


def _teacher(
    config: EfficientadConfig, levels: Levels | None, context: FitContext, *, channels: int
) -> nn.Module:
    """Return the backbone as a teacher, or without its levels a small one that learns from it."""
    size_hw = context.preprocess.size_hw
    if levels is not None:
        where = geometry(context.backbone, size_hw)
        return directed(levels, where, channels=channels, grid_hw=described_hw(size_hw))
    training = Training(config.distil_steps, batch=8, learning_rate=2e-3, weight_decay=1e-5)
    recipe = Recipe(config.width, channels, training)
    return teacher(recipe, context, cache=default_cache_dir().with_name("teachers"))


def divided(samples: tuple[Sample, ...], canvases: Canvases, seed: int) -> tuple[Array, Array]:
    """Return the indices of the canvases to learn from and of those held out: all of a tenth of the parts, or
    with fewer than ten parts all canvases, twice."""
    everything = np.arange(len(canvases))
    keys = sorted({sample.part_key for sample in samples})
    if len(keys) < 1 / _HELD_OUT:
        return everything, everything
    order = derive(seed, "held out").permutation(len(keys))
    chosen = {keys[i] for i in order[: round(_HELD_OUT * len(keys))].tolist()}
    out = np.array([samples[owner].part_key in chosen for owner in canvases.owners.tolist()])
    return everything[~out], everything[out]


def _some(indices: Array, seed: int) -> Array:
    return derive(seed, "measured").permutation(indices)[:_MEASURED]


@dataclass(frozen=True, eq=False)
class View:
    """Canvases as the networks take them."""

    canvases: Canvases
    shares: Array  # float32 (n, h, w): how much of each described place shows judged picture
    card: BackboneCard
    levels: Levels | None  # of the backbone, where that is the teacher

    def seen(self, indices: Array) -> list[torch.Tensor]:
        """Return the backbone's levels of some canvases, where that is the teacher."""
        return [] if self.levels is None else self.levels.tensors(indices)

    def batches(self, indices: Array) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
        """Yield images (N, 3, H, W) with the levels, and shares (N, h, w), of some canvases at a time."""
        for start in range(0, len(indices), _BATCH):
            part = indices[start : start + _BATCH]
            images = normalised(self.canvases.pixels[part], self.card)
            yield [images, *self.seen(part)], torch.from_numpy(self.shares[part])


@dataclass(frozen=True, eq=False)
class CanvasesAndTextures:
    """Draws canvases, the same with altered light, textures of half the side, and the backbone's levels of
    the canvases."""

    view: View
    indices: Array
    size: int
    seed: int

    def __call__(self, step: int) -> Batch:
        """Return images, shares, altered images, textures, and the levels where the backbone teaches."""
        rng = derive(self.seed, "batch", step)
        chosen = self.indices[drawn(len(self.indices), self.size, step=step, seed=self.seed)]
        pixels = self.view.canvases.pixels[chosen]
        half = (pixels.shape[1] // 2, pixels.shape[2] // 2)
        textures = np.stack([random_texture(rng, half) for _ in chosen])
        changed = np.stack([altered(picture, rng) for picture in pixels])
        images, others, drawn_ones = (
            normalised(values, self.view.card) for values in (pixels, changed, textures)
        )
        shares = torch.from_numpy(self.view.shares[chosen])
        return images, shares, others, drawn_ones, *self.view.seen(chosen)


def altered(pixels: Array, rng: np.random.Generator) -> Array:
    """Return a picture, uint8 (H, W, 3), a fifth brighter or darker at most, or with as much more or less
    contrast or colour."""
    values = pixels.astype(np.float32)
    kind, factor = rng.integers(3), rng.uniform(0.8, 1.2)
    # what stays as it is: black, the picture's mean, or each pixel's own grey
    still = (0.0, values.mean(), values.mean(2, keepdims=True))[kind]
    changed: Array = np.clip(np.round(still + (values - still) * factor), 0, 255).astype(np.uint8)
    return changed


class Normalised(nn.Module):
    """A frozen teacher whose channels have mean 0 and deviation 1 on good parts. It takes a canvas's image
    and the backbone's levels of it, and looks at the levels where there are any."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))

    def train(self, mode: bool = True) -> Normalised:
        """Stay as it is: what is frozen does not learn statistics either."""
        super().train(False)
        return self

    def measure(self, view: View, indices: Array) -> None:
        """Find mean and deviation of the channels over what these canvases show."""
        moments = ChannelMoments()
        with torch.no_grad():
            for inputs, shares in view.batches(indices):
                moments.add(self._said(*inputs), shares)
        self.mean, self.spread = moments.figures(least=_QUIET)

    def forward(self, images: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return (N, C, h, w)."""
        return (self._said(images, *levels) - self.mean) / self.spread

    def _said(self, images: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.network(*(levels or (images,)))
        return said


class Autoencoder(nn.Module):
    """Squeezes a canvas into a few numbers and tells from them what the teacher would say of it."""

    def __init__(self, size_hw: tuple[int, int], grid_hw: tuple[int, int], code: int, channels: int) -> None:
        super().__init__()
        inner = min(64, code)
        halvings = max(1, min(5, int(math.log2(min(size_hw) / 2))))
        layers: list[nn.Module] = []
        before, (rows, columns) = 3, size_hw
        for i in range(halvings):
            after = inner if i > 1 else max(4, inner // 2)
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
            before, rows, columns = after, rows // 2, columns // 2
        self.encoder = nn.Sequential(*layers, nn.Conv2d(before, code, (rows, columns)))
        self.sizes = [tuple(-(-side // scale) for side in grid_hw) for scale in (16, 8, 4, 2, 1)]
        steps = [
            nn.Sequential(
                nn.Conv2d(code if i == 0 else inner, inner, 3, padding=1), nn.ReLU(), nn.Dropout(0.2)
            )
            for i in range(len(self.sizes))
        ]
        self.steps = nn.ModuleList(steps)
        self.last = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, h, w)."""
        values = self.encoder(images)
        for size, step in zip(self.sizes, self.steps, strict=True):
            values = step(functional.interpolate(values, size=size, mode="bilinear", align_corners=False))
        return self.last(values)


class Trio(nn.Module):
    """Teacher, student and autoencoder. The student's first half copies the teacher, its second half the
    autoencoder."""

    def __init__(self, taught: Normalised, student: Description, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.teacher, self.student, self.autoencoder = taught, student, autoencoder

    def forward(self, images: torch.Tensor, *levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the differences of student and teacher, and of student and autoencoder, each (N, C, h,
        w)."""
        first, second = self.student(images).chunk(2, dim=1)
        return first - self.teacher(images, *levels), second - self.autoencoder(images)


class Teaching(nn.Module):
    """The sum of the losses: hard places, textures, the autoencoder's own and that of its copy."""

    def __init__(self, trio: Trio, hard: float, penalty: float) -> None:
        super().__init__()
        self.trio = trio
        self.hard, self.penalty = hard, penalty
        self.progress = 0.0

    def forward(
        self,
        images: torch.Tensor,
        shares: torch.Tensor,
        others: torch.Tensor,
        textures: torch.Tensor,
        *levels: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss of a batch."""
        shown = shares[:, None]
        taught = self.trio.teacher(images, *levels)
        copied, recalled = self.trio.student(images).chunk(2, dim=1)
        with torch.no_grad():
            rebuilt = self.trio.autoencoder(images)
        share = self.hard ** min(1.0, 2 * self.progress)  # from all values down to the hardest
        loss = hardest((taught - copied).square() * shown, share)
        loss = loss + _mean(self.trio.autoencoder(others) - taught, shown) + _mean(rebuilt - recalled, shown)
        return loss + self.penalty * self.trio.student(textures).chunk(2, dim=1)[0].square().mean()


def hardest(values: torch.Tensor, share: float) -> torch.Tensor:
    """Return the mean of the highest values, so many as `share` says and at least one."""
    flat = values.flatten()
    return flat.topk(max(1, round(share * flat.numel()))).values.mean()


def _mean(gap: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    return (gap.square() * shown).sum() / (shown.sum() * gap.shape[1]).clamp_min(1e-6)


class Oddness(nn.Module):
    """The distances: both differences, each scaled by how far its upper quantiles on good parts lie apart
    (see `measure`). The second has the weight `arrangement`, the first what is left of 1."""

    scales: torch.Tensor  # (2,), of both differences
    matrix: torch.Tensor  # (C, C, 1, 1), which whitens the first difference
    offset: torch.Tensor  # (C,)

    def __init__(self, trio: Trio, arrangement: float) -> None:
        super().__init__()
        self.trio = trio
        self.arrangement = arrangement
        channels = trio.teacher.mean.shape[1]
        self.register_buffer("matrix", torch.eye(channels)[:, :, None, None])
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("scales", torch.ones(2))

    def measure(self, view: View, indices: Array) -> None:
        """Find how the first difference varies over what these canvases show, and then both scales."""
        self.eval()
        moments = Moments(len(self.offset))
        for (first, _), shown in self._over(view, indices, self.trio):
            moments.add(first.permute(0, 2, 3, 1).numpy()[shown])
        if moments.count:
            variances, vectors = np.linalg.eigh(moments.covariance)
            floor = max(_LEAST_VARIANCE * float(variances.max()), 1e-12)
            matrix = (vectors / np.sqrt(np.maximum(variances, floor))).T
            self.matrix = torch.from_numpy(matrix[:, :, None, None]).float()
            self.offset = torch.from_numpy(-matrix @ moments.mean).float()
        kept: tuple[list[Array], list[Array]] = ([], [])
        for maps, shown in self._over(view, indices, self._squares):
            for values, one in zip(kept, maps, strict=True):
                values.append(one.numpy()[shown])
        gaps = []
        for values in kept:
            joined = np.concatenate(values)
            low, high = np.quantile(joined, QUANTILES) if len(joined) else (0.0, 1.0)
            gaps.append(max(float(high - low), 1e-6))
        self.scales = 0.1 * torch.tensor([1 - self.arrangement, self.arrangement]) / torch.tensor(gaps)

    def usual(self, view: View, indices: Array, *, strength: float) -> Array:
        """Return the distance that is usual at each place of these canvases, float32 (h, w)."""
        places = Places((view.shares.shape[1], view.shares.shape[2]))
        for distances, shown in self._over(view, indices, self):
            for distance, where in zip(distances.numpy(), shown, strict=True):
                places.add(distance.ravel(), where.ravel())
        return usual(places, strength=strength)

    def _over(self, view: View, indices: Array, look: Callable[..., Any]) -> Iterator[tuple[Any, Array]]:
        """Yield what `look` says of some canvases at a time, and what of them shows judged picture."""
        with torch.no_grad():
            for inputs, shares in view.batches(indices):
                yield look(*inputs), (shares >= 0.5).numpy()

    def _squares(self, images: torch.Tensor, *levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = self.trio(images, *levels)
        return self.whitened(first).square().mean(1), second.square().mean(1)

    def whitened(self, difference: torch.Tensor) -> torch.Tensor:
        """Return a difference of student and teacher (N, C, h, w) in units of how good parts differ."""
        return functional.conv2d(difference, self.matrix, self.offset)

    def forward(self, images: torch.Tensor, *levels: torch.Tensor) -> torch.Tensor:
        """Return distances (N, h, w)."""
        first, second = self._squares(images, *levels)
        return self.scales[0] * first + self.scales[1] * second
