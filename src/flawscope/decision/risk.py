"""How bad it is: the quality risk score as published, and one that can be compared between images.

`qrs` is the share of a product whose class activation, stretched to 0..1 in each image, exceeds a threshold.
Stretching makes every image's hottest place 1: a good part can score like a bad one.

`rate` rests on an absolute map (1.0 = the bundle's pixel limit) and on how sure the bundle is, 0 to 1:

    risk = sure * (40 + 25 large + 25 intense + 10 many)                             0 to 100

    large    a / (a + 0.02)     a: share of the product over the limit
    intense  e / (e + 1)        e: mean of the map's excess over the limit in the hottest 0.2 % of the product
    many     1 - 1 / n          n: separate places over the limit (0 for one or none)

With zones, every cell counts with its zone's weight (1 is usual); what that adds or takes away is the factor
`where`. Contributions are points that add up to the risk. All shares are of the product, so that neither
padding nor resolution matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.rng import derive
from flawscope.core.types import Array, Json
from flawscope.metrics.intervals import percentile_interval

QRS_THRESHOLD = 0.9
BASE, LARGE, INTENSE, MANY = 40.0, 25.0, 25.0, 10.0  # points at most, of a part that is bad for sure
HIGHEST = BASE + LARGE + INTENSE + MANY
HALF_AREA = 0.02  # share of the product that gives half of `large`
HALF_EXCESS = 1.0  # excess over the limit that gives half of `intense`: twice the limit
TOP_SHARE = 0.002  # of the product, whose mean excess is its intensity
SPECK = 1e-4  # of the product; smaller places are not counted as places
BLOCKS = 8  # a side, over the product's box: what is drawn anew for the interval
RESAMPLES = 200
FACTORS = ("sure", "large", "intense", "many", "where")


@dataclass(frozen=True)
class Factor:
    """One reason for a risk: what was measured, and the points that it contributes."""

    name: str  # one of FACTORS
    measured: float | None  # probability; share; excess; places; largest weight met. None: no zones given
    points: float

    def to_json(self) -> Json:
        """Return the factor as JSON."""
        return {"name": self.name, "measured": self.measured, "points": self.points}


@dataclass(frozen=True)
class Rating:
    """A risk from 0 to 100 with its 95 % interval (None where the product is too small for one) and the
    factors whose points add up to it.

    The interval comes from drawing the blocks of an 8x8 grid over the product anew, the certainty held
    fixed: it tells how much the risk rests on a few places, not how sure the bundle is.
    """

    risk: float
    low: float | None
    high: float | None
    factors: tuple[Factor, ...]

    def to_json(self) -> Json:
        """Return risk, interval and factors as JSON."""
        return {
            "value": self.risk,
            "low": self.low,
            "high": self.high,
            "factors": [factor.to_json() for factor in self.factors],
        }


def scaled(weights: Array) -> Array:
    """Return weights, float (h, w), stretched to 0..1 over the image, float32; all 0 where nothing varies."""
    low, high = float(weights.min()), float(weights.max())
    if not high > low:
        return np.zeros(weights.shape, np.float32)
    return np.clip((weights - low) / (high - low), 0.0, 1.0).astype(np.float32)


def qrs(weights: Array, region: Array, t: float = QRS_THRESHOLD) -> float:
    """Return the share of the region, bool (h, w), whose weight, float (h, w) from 0 to 1, lies above `t`.

    As published: weights are the Grad-CAM++ of the defective class, scaled to 0..1 over the whole image (see
    `scaled`). Raises ValueError for shapes that differ, an empty region, or weights beyond 0..1.
    """
    _check(weights, region)
    if weights.min() < 0 or weights.max() > 1:
        raise ValueError(f"weights are 0 to 1, not {weights.min():g} to {weights.max():g}")
    return float((weights[region] > t).mean())


def rate(
    sure: float,
    heat: Array,
    region: Array,
    *,
    zones: Array | None = None,
    seed: int = 0,
    interval: bool = True,
) -> Rating:
    """Return the risk of one part; without its `interval` in a fraction of the time.

    `sure` is 0 to 1; `heat` float (h, w) is the map divided by the pixel limit; `region` bool (h, w) is the
    product; `zones` float (h, w) are weights not below 0. Raises ValueError for anything else, or an empty
    region.
    """
    _check(heat, region)
    if not 0 <= sure <= 1:
        raise ValueError(f"being sure goes from 0 to 1, not {sure}")
    if zones is not None and (zones.shape != heat.shape or not np.isfinite(zones).all() or zones.min() < 0):
        raise ValueError("zones need a weight of 0 or more for every cell of the map")
    excess = np.where(region, np.maximum(heat.astype(np.float64) - 1.0, 0.0), 0.0)
    blocks = _blocks(region) if interval else np.zeros(region.shape, np.int64)
    usual = _Profile.of(excess, region, blocks, np.ones(heat.shape))
    counted = usual if zones is None else _Profile.of(excess, region, blocks, zones)
    once = np.ones((1, usual.sizes.size))
    plain, measured = _points(usual.measured(once)), usual.measured(once)[:, 0]
    points = [float(sure * value) for value in plain[:, 0]]
    total, met = sum(points), None
    if zones is not None:
        total = float(sure * _points(counted.measured(once)).sum())
        met = float(np.where(excess > 0, zones, 0.0).max())
    points.append(total - sum(points))
    names = zip(FACTORS, (sure, *measured.tolist(), met), points, strict=True)
    span = _interval(counted, total, sure, seed=seed)  # None of a single block
    return Rating(
        total,
        None if span is None else span[0],
        None if span is None else span[1],
        tuple(Factor(name, value, one) for name, value, one in names),
    )


@dataclass(frozen=True, eq=False)
class _Profile:
    """What the risk looks at, block by block, so that blocks can be drawn anew without going back to the
    cells."""

    sizes: Array  # float64 (blocks,), cells of the product
    over: Array  # float64 (blocks,), weight of those over the limit
    places: Array  # float64 (blocks,), weight of separate places by the block of their hottest cell
    hottest: Array  # float64 (n,), falling: weighted excess of the hottest cells of every block
    owners: Array  # int64 (n,), their blocks

    @classmethod
    def of(cls, excess: Array, region: Array, blocks: Array, weights: Array) -> _Profile:
        """Measure a map's excess (h, w) within a region whose cells carry block numbers (h, w)."""
        count = int(blocks[region].max()) + 1
        owners, values = blocks[region], (excess * weights)[region]
        over = np.where(excess > 0, weights, 0.0)[region]
        sizes = np.bincount(owners, minlength=count).astype(np.float64)
        kept = np.flatnonzero(values > 0)
        order = kept[np.lexsort((-values[kept], owners[kept]))]
        starts = np.searchsorted(owners[order], np.arange(count))
        rank = np.arange(order.size) - starts[owners[order]]
        # a draw of all blocks can need no more than twice its share of a block that it holds once
        order = order[rank < 2 * math.ceil(TOP_SHARE * owners.size)]
        order = order[np.argsort(-values[order], kind="stable")]
        return cls(
            sizes=sizes,
            over=np.bincount(owners, over, minlength=count),
            places=_places(excess, region, blocks, weights, count),
            hottest=values[order],
            owners=owners[order],
        )

    def measured(self, draws: Array) -> Array:
        """Return share over the limit, intensity and number of places, float64 (3, draws), for draws of the
        blocks, float64 (draws, blocks): how often each is held."""
        cells = draws @ self.sizes
        room = np.maximum(TOP_SHARE * cells, 1.0)
        held = draws[:, self.owners]
        before = np.cumsum(held, axis=1) - held
        taken = np.clip(room[:, None] - before, 0.0, held)
        met = np.minimum(draws, 1.0) @ self.places  # a place that is drawn twice is still one place
        return np.stack([draws @ self.over / cells, taken @ self.hottest / room, met])


def _points(measured: Array) -> Array:
    """Return the points of base, area, intensity and number, float64 (4, n), for what was measured (3, n)."""
    area, excess, places = measured
    return np.stack(
        [
            np.full(area.shape, BASE),
            LARGE * area / (area + HALF_AREA),
            INTENSE * excess / (excess + HALF_EXCESS),
            MANY * (1.0 - 1.0 / np.maximum(places, 1.0)),
        ]
    )


def _interval(profile: _Profile, value: float, sure: float, *, seed: int) -> tuple[float, float] | None:
    """Return the percentile interval over draws of the blocks; None where there are fewer than four."""
    count = profile.sizes.size
    if count < 4:
        return None
    draws = derive(seed, "risk").multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES)
    return percentile_interval(sure * _points(profile.measured(draws.astype(np.float64))).sum(0), value)


def _places(excess: Array, region: Array, blocks: Array, weights: Array, count: int) -> Array:
    """Return the weight of separate places (8 neighbours) that are no specks, by the block of their hottest
    cell, float64 (count,); a place weighs what its heaviest cell does."""
    found = np.zeros(count)
    if not excess.any():
        return found
    number, labels, stats, _ = cv2.connectedComponentsWithStats((excess > 0).astype(np.uint8), connectivity=8)
    least = SPECK * int(region.sum())
    for label in range(1, number):
        if stats[label, cv2.CC_STAT_AREA] < least:
            continue
        left, top, width, height = stats[label, :4].tolist()
        box = slice(top, top + height), slice(left, left + width)
        own = labels[box] == label
        hottest = np.where(own, excess[box], -1.0).argmax()
        found[blocks[box].ravel()[hottest]] += float(np.where(own, weights[box], 0.0).max())
    return found


def _blocks(region: Array) -> Array:
    """Return for every cell of a region the number of its block, int64 (h, w), counted over the blocks of a
    grid on the region's box that hold any of it; 0 outside."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    down = _grid(region.shape[0], int(rows[0]), int(rows[-1]) + 1)
    across = _grid(region.shape[1], int(columns[0]), int(columns[-1]) + 1)
    numbers = np.where(region, down[:, None] * BLOCKS + across[None], -1)
    used, inverse = np.unique(numbers[region], return_inverse=True)
    result = np.zeros(region.shape, np.int64)
    result[region] = inverse.reshape(-1)
    assert len(used)
    return result


def _grid(length: int, start: int, stop: int) -> Array:
    """Return the block row or column of each cell of a side, int64 (length,)."""
    return np.clip((np.arange(length) - start) * BLOCKS // max(stop - start, 1), 0, BLOCKS - 1)


def _check(values: Array, region: Array) -> None:
    if values.ndim != 2 or values.shape != region.shape or region.dtype != np.bool_:
        raise ValueError(f"values {values.shape} need a region of bool of the same shape, not {region.shape}")
    if not region.any():
        raise ValueError("the product's region is empty")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
