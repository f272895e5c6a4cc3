"""The heads of supersimplenet, the anomalies made for them, their training and their graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from flawscope.core.errors import DataError
from flawscope.core.rng import derive
from flawscope.core.types import Array
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import channel_means, to_grid
from flawscope.methods.deep.canvases import Canvases, Levels, in_turn, load_canvases, load_levels
from flawscope.methods.deep.export import Head, distance_graph
from flawscope.methods.deep.loop import Batch, Course, identity, run, seeded
from flawscope.methods.deep.truth import DEFECT, GOOD, UNKNOWN, Truth, load_truth
from flawscope.methods.features import Geometry, geometry
from flawscope.methods.supersimplenet import SuperSimpleNetConfig
from flawscope.synth.textures import perlin_noise

BLOT_LEVEL = 0.2  # Perlin noise above it is an anomaly
CLEAN_SHARE = 0.5  # of the copies that get no noise
MARGIN = 0.5  # by which a logit must be right to cost nothing
FOCUS = 4  # exponent of the focal loss
TOP_SHARE = 0.05  # of the positions whose mean tells the classification head how high the map is
HIDDEN = 128  # channels of the classification head
LEAST_LOGIT = -60.0  # far below what training gives; softplus is still above 0 there


def fit(config: SuperSimpleNetConfig, data: FitData, context: FitContext) -> Any:
    """Train the heads on good parts and labelled defects and return the bundle's graph."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    grid_hw = (where.grid_hw[0] * config.enlarge, where.grid_hw[1] * config.enlarge)
    used = tuple(
        sample for sample in data.fit if sample.is_good or (sample.is_bad and config.defect_share > 0)
    )
    canvases = load_canvases(used, context)
    truth = load_truth(used, canvases, context, grid_hw=grid_hw)
    draw = Mixture(_variants(config, canvases, truth, context), config, context.seed)
    if not len(draw.good):
        raise DataError("There is no good part to learn from")
    with seeded(context.seed, "supersimplenet"):
        network = Network(where, config, sizes(draw.variants[0].levels, draw.good))
    run(
        Course(
            name="Teaching",
            objective=Lesson(network, config.noise, mixed=len(draw.bad) > 0),
            draw=draw,
            settings=config.training,
            key=identity("supersimplenet", config, data, context),
            rates={"network.adaptor": 0.5},
        ),
        context,
    )
    head = Head(Verdict(network), grid_hw, shares=True, scores=True)
    return distance_graph(head, context, config, name="supersimplenet")


def sizes(levels: Levels, chosen: Array) -> list[float]:
    """Return the root mean square of each level over what these canvases show of judged picture."""
    found = []
    for values in levels.values:
        total, weight = 0.0, 0.0
        for index in chosen.tolist():
            shares = torch.from_numpy(levels.shares[index])[None, None]
            weights = to_grid(shares, (values.shape[2], values.shape[3])).numpy()[0, 0]
            squares = np.square(values[index], dtype=np.float32).mean(0)
            total += float((squares * weights).sum())
            weight += float(weights.sum())
        found.append(max((total / max(weight, 1e-6)) ** 0.5, 1e-6))
    return found


@dataclass(frozen=True, eq=False)
class Variant:
    """All canvases, seen upright or mirrored."""

    levels: Levels
    truth: Truth


def _variants(
    config: SuperSimpleNetConfig, canvases: Canvases, truth: Truth, context: FitContext
) -> tuple[Variant, ...]:
    """Return the canvases as they are and mirrored as `flips` allows."""
    upright = Variant(load_levels(canvases, context), truth)
    found = [upright]
    for rows, columns in ((False, True), (True, False), (True, True)):
        allowed = {"horizontal": not rows, "vertical": not columns, "both": True}
        if not allowed.get(config.flips, False):
            continue
        levels = load_levels(mirrored(canvases, rows=rows, columns=columns), context)
        # where the area lies in the photograph does not turn with it: the shares are mirrored instead
        shares = upright.levels.shares[:, ::-1] if rows else upright.levels.shares
        shares = np.ascontiguousarray(shares[:, :, ::-1] if columns else shares)
        found.append(Variant(replace(levels, shares=shares), truth.flipped(rows=rows, columns=columns)))
    return tuple(found)


def mirrored(canvases: Canvases, *, rows: bool, columns: bool) -> Canvases:
    """Return canvases with their rows or columns in reverse."""
    height, width = canvases.pixels.shape[1:3]
    pixels, boxes = canvases.pixels, canvases.content_xyxy.copy()
    if rows:
        pixels, boxes[:, [1, 3]] = pixels[:, ::-1], height - boxes[:, [3, 1]]
    if columns:
        pixels, boxes[:, [0, 2]] = pixels[:, :, ::-1], width - boxes[:, [2, 0]]
    return Canvases(np.ascontiguousarray(pixels), boxes, canvases.owners, canvases.windows_xyxy)


class Mixture:
    """Draws good canvases, labelled defects among them, and where noise is to be laid over both."""

    def __init__(self, variants: tuple[Variant, ...], config: SuperSimpleNetConfig, seed: int) -> None:
        self.variants = variants
        labels = variants[0].truth.labels
        self.good = np.flatnonzero(labels == GOOD)
        self.bad = np.flatnonzero(labels == DEFECT)
        self._size = config.training.batch
        self._share = config.defect_share if len(self.bad) else 0.0
        self._seed = seed

    def chosen(self, step: int) -> Array:
        """Return the indices of a batch: the share of defects holds over the steps where no single batch can
        keep it, and both kinds come in turn."""
        before, after = (int(place * self._size * self._share) for place in (step, step + 1))
        good = np.arange(step * self._size - before, (step + 1) * self._size - after)
        bad = in_turn(len(self.bad), np.arange(before, after), seed=self._seed)
        return np.concatenate([self.good[in_turn(len(self.good), good, seed=self._seed)], self.bad[bad]])

    def __call__(self, step: int) -> Batch:
        """Return labels (n,), truths (n, h, w), shares (n, h, w), blots (2n, h, w) and the levels."""
        rng = derive(self._seed, "blots", step)
        variant = self.variants[rng.integers(len(self.variants))]
        chosen = self.chosen(step)
        cells = variant.truth.cells[chosen]
        drawn = np.stack([blots(rng, (cells.shape[1], cells.shape[2])) for _ in range(2 * len(chosen))])
        return (
            torch.from_numpy(variant.truth.labels[chosen]).float(),
            torch.from_numpy(cells),
            torch.from_numpy(variant.levels.shares[chosen]),
            torch.from_numpy(drawn),
            *variant.levels.tensors(chosen),
        )


def blots(rng: np.random.Generator, grid_hw: tuple[int, int]) -> Array:
    """Return where an anomaly is made, bool (h, w): nowhere in half of the cases, else where Perlin noise of
    1, 2, 4, ... cells a side, up to one cell for two positions and 32, is high."""
    if rng.random() < CLEAN_SHARE:
        return np.zeros(grid_hw, bool)
    most = [min(5, max(0, (side // 2).bit_length() - 1)) for side in grid_hw]
    rows, columns = (2 ** int(rng.integers(exponent + 1)) for exponent in most)
    return np.asarray(perlin_noise(rng, grid_hw, cells_hw=(rows, columns)) > BLOT_LEVEL)


class Network(nn.Module):
    """From levels to a logit per position and a logit per canvas."""

    def __init__(self, where: Geometry, config: SuperSimpleNetConfig, level_sizes: list[float]) -> None:
        super().__init__()
        enlarge, seen = config.enlarge, sum(where.channels)
        channels = min(seen, config.channels)
        self.grid_hw = (where.grid_hw[0] * enlarge, where.grid_hw[1] * enlarge)
        self.level_sizes, self.unit_levels = level_sizes, config.unit_levels
        self.highest = max(1, round(TOP_SHARE * self.grid_hw[0] * self.grid_hw[1]))
        side = config.neighbourhood
        self.around = nn.AvgPool2d(side, stride=1, padding=side // 2, count_include_pad=False)
        self.adaptor = nn.Conv2d(seen, channels, 1)
        self.segment = nn.Sequential(
            nn.Conv2d(channels, config.width, 1),
            nn.BatchNorm2d(config.width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(config.width, 1, 1, bias=False),
        )
        self.classify = nn.Sequential(
            nn.Conv2d(channels + 1, HIDDEN, 2 * enlarge + 1, padding=enlarge),
            nn.BatchNorm2d(HIDDEN),
            nn.ReLU(),
        )
        self.decide = nn.Linear(2 * HIDDEN + 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)
        # the classification head begins as the map's level and highest places, and learns from there
        with torch.no_grad():
            self.decide.weight.zero_()
            self.decide.weight[0, -2:] = 1

    def features(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the frozen part (N, C, h, w): levels at one size, on one grid, averaged around each
        position."""
        laid = []
        for level, size in zip(levels, self.level_sizes, strict=True):
            length = level.shape[1] ** 0.5
            sized = functional.normalize(level, dim=1) * length if self.unit_levels else level / size
            laid.append(to_grid(sized, self.grid_hw))
        return self.around(torch.cat(laid, 1))

    def forward(
        self, adapted: torch.Tensor, shares: torch.Tensor, *, apart: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N, h, w) and (N,) of adapted features; what shows no judged picture, by its
        `shares` (N, h, w), has no say in the second. Where `apart`, that one does not teach the first."""
        heat = self.segment(adapted)
        told = heat.detach() if apart else heat
        inner = self.classify(torch.cat([adapted, told], 1))
        weights = shares[:, None]
        shown = weights > 0
        lowest = told.amin((2, 3), keepdim=True)
        pooled = torch.cat(
            [
                (inner * shown).amax((2, 3)),
                channel_means(inner, weights),
                torch.where(shown, told, lowest).flatten(2).topk(self.highest, dim=2).values.mean(2),
                channel_means(told, weights),
            ],
            1,
        )
        return heat[:, 0], self.decide(pooled)[:, 0]


class Lesson(nn.Module):
    """The loss: both heads on features of canvases and of their noisy copies."""

    def __init__(self, network: Network, noise: float, *, mixed: bool) -> None:
        super().__init__()
        self.network = network
        self.noise = noise
        self.mixed = mixed  # with true defects the classification head may teach the segmentation head too

    def forward(
        self,
        labels: torch.Tensor,
        truths: torch.Tensor,
        shares: torch.Tensor,
        blots: torch.Tensor,
        *levels: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss of a batch."""
        with torch.no_grad():
            features = self.network.features(list(levels))
            shares = to_grid(shares[:, None], self.network.grid_hw)[:, 0]
        adapted = self.network.adaptor(features)
        labels, truths, shares = (torch.cat([value, value]) for value in (labels, truths, shares))
        noisy, truths, labels = marred(
            torch.cat([adapted, adapted]), truths, labels, blots & (shares > 0), self.noise
        )
        heat, verdict = self.network(noisy, shares, apart=not self.mixed)
        known = shares * (truths != UNKNOWN)
        bad = (truths == DEFECT).to(heat.dtype)
        return (
            truncated(heat, bad, known)
            + focal(heat, bad, known)
            + focal(verdict, labels, torch.ones_like(verdict))
        )


def marred(
    features: torch.Tensor, truths: torch.Tensor, labels: torch.Tensor, blots: torch.Tensor, noise: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lay noise over features (N, C, h, w) where blots (N, h, w) fall on what is known to be good; return
    them, the truths (N, h, w) and the labels (N,) that this gives."""
    hit = blots & (truths == GOOD)
    noisy = features + torch.randn_like(features) * noise * hit[:, None]
    truths = torch.where(hit, torch.full_like(truths, DEFECT), truths)
    return noisy, truths, torch.maximum(labels, hit.any(2).any(1).to(labels.dtype))


def truncated(logits: torch.Tensor, bad: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return how far logits fall short of the margin on the right side, the mean over good positions plus
    the mean over bad ones."""
    total = logits.new_zeros(())
    for sign, side in ((1.0, (1 - bad) * weights), (-1.0, bad * weights)):
        short = functional.relu(sign * logits + MARGIN)
        total = total + (short * side).sum() / side.sum().clamp_min(1e-6)
    return total


def focal(logits: torch.Tensor, bad: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean focal loss (Lin et al. 2017, no class weights)."""
    logs = functional.logsigmoid(logits * (2 * bad - 1))
    losses = -((1 - logs.exp()) ** FOCUS) * logs
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)


class Verdict(nn.Module):
    """What the bundle's graph holds: from levels and shares to probabilities (N, h, w) and scores (N,)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the map and the score."""
        *levels, shares = inputs
        heat, verdict = self.network(self.network.adaptor(self.network.features(levels)), shares)
        return heat.sigmoid(), functional.softplus(verdict.clamp_min(LEAST_LOGIT))
