"""How well heat maps mark flaws: pixel AUROC, AP, AUPRO, AUPIMO and SegF1, exact and in bounded memory.

Every ranking metric here is a mean, over the pixels of flaws, of a function of how many normal pixels lie
above that pixel. So the normal pixels are sorted once, the flaws' pixels are looked up among them, and the
areas under the curves are closed forms without a grid of thresholds. Past `EXACT_PIXELS` normal pixels, map
values are rounded to 15 bits of mantissa (a relative step of 3e-5) and counted, so memory stays bounded.

AUPRO: Bergmann et al. 2021 (regions 8-connected). AUPIMO: Bertoldo, Ayed et al. 2024, false alarms on good
images only. SegF1: Heckler-Kram et al. 2025 (MVTec AD 2), at the bundle's fixed pixel threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from flawscope.core.types import Array, Metric
from flawscope.metrics.pixel_intervals import PixelBins, bin_edges, image_interval

EXACT_PIXELS = 1 << 25
AUPIMO_BOUNDS = (1e-5, 1e-4)  # false-alarm rates per good image, log scale
_NO_FLAW = "no pixel of a flaw is marked"
_NO_NORMAL = "no normal pixel"


@dataclass(frozen=True, eq=False)
class Pixels:
    """What the metrics need of all maps and masks; flaws' pixels stand in the order of the images."""

    values: Array  # float32 (m,), map values of the flaws' pixels
    shares: Array  # float64 (m,), 1 / (pixels of the same region)
    image_shares: Array  # float64 (m,), 1 / (flaw pixels of the same image)
    above: Array  # float64 (m,), share of normal pixels strictly above each value
    at_or_above: Array  # float64 (m,), share of normal pixels at or above each value
    good_alarms: Array  # float64 (m,), as at_or_above, averaged over good images; exact up to 1e-4
    normal: int  # normal pixels
    good_pixels: int  # pixels of good images
    regions: int
    counts: Array  # int64 (images, 3): true, false and missed pixels at the fixed threshold
    bins: PixelBins

    @property
    def missing(self) -> str:
        """Why a ranking of pixels is undefined; empty where it is defined."""
        return _NO_FLAW if not len(self.values) else "" if self.normal else _NO_NORMAL


def collect(
    maps: Sequence[Array],
    masks: Sequence[Array | None],
    *,
    pixel_threshold: float,
    is_bad: Sequence[bool] | Array | None = None,
) -> Pixels:
    """Gather what the metrics need from maps (float32 (h, w), finite) and masks (bool, the same shapes).

    Images may differ in size. The mask None, or one that marks nothing, stands for a good image, unless
    `is_bad` says otherwise: where a bad image's flaw is not marked, the image is left out. Both sequences are
    gone through twice, one image at a time, so they may load lazily. Raises ValueError for shapes that differ
    and for values that are not finite.
    """
    if len(maps) != len(masks) or (is_bad is not None and len(is_bad) != len(maps)):
        raise ValueError("maps, masks and labels differ in number")
    marked = [mask is not None and bool(np.any(mask)) for mask in masks]
    kept = [i for i in range(len(maps)) if marked[i] or is_bad is None or not is_bad[i]]
    good_images = sum(not marked[i] for i in kept)
    normal = _Counted()
    tail_values, tail_weights = [np.zeros(0, np.float32)], [np.zeros(0)]
    values, shares, image_shares = [np.zeros(0, np.float32)], [np.zeros(0)], [np.zeros(0)]
    owners, regions, good_pixels = [np.zeros(0, np.int64)], np.zeros(len(kept), np.int64), 0
    counts = np.zeros((len(kept), 3), np.int64)
    for row, i in enumerate(kept):
        heat, mask = _checked(maps[i], masks[i] if marked[i] else None, place=i)
        hit = heat > pixel_threshold
        if mask is None:
            normal.add(heat.ravel())
            counts[row, 1] = np.count_nonzero(hit)
            top = _top(heat.ravel(), math.ceil(AUPIMO_BOUNDS[1] * good_images * heat.size) + 1)
            tail_values.append(top)
            tail_weights.append(np.full(len(top), 1.0 / (good_images * heat.size)))
            good_pixels += heat.size
            continue
        normal.add(heat[~mask])
        true = np.count_nonzero(hit & mask)
        counts[row] = true, np.count_nonzero(hit) - true, np.count_nonzero(mask) - true
        names, regions[row] = ndimage.label(mask, structure=np.ones((3, 3)))
        inside = names[mask]
        values.append(heat[mask])
        shares.append(1.0 / np.bincount(inside)[inside])
        image_shares.append(np.full(len(inside), 1.0 / len(inside)))
        owners.append(np.full(len(inside), row))
    found, owner = normal.rounded(np.concatenate(values)), np.concatenate(owners)
    above, at_or_above = normal.shares_above(found)
    tail = normal.rounded(np.concatenate(tail_values))
    edges = bin_edges(normal.quantiles, found, tail)
    return Pixels(
        values=found,
        shares=np.concatenate(shares),
        image_shares=np.concatenate(image_shares),
        above=above,
        at_or_above=at_or_above,
        good_alarms=_weight_at_or_above(found, tail, np.concatenate(tail_weights)),
        normal=normal.total,
        good_pixels=good_pixels,
        regions=int(regions.sum()),
        counts=counts,
        bins=PixelBins.of(
            edges,
            normal=(_normal(maps[i], masks[i] if marked[i] else None) for i in kept),
            found=found,
            owner=owner,
            shares=np.concatenate(shares),
            regions=regions,
            sizes=np.array([np.size(maps[i]) for i in kept], np.float64),
            is_good=np.array([not marked[i] for i in kept], np.bool_),
        ),
    )


def auroc(pixels: Pixels) -> Metric:
    """Return the chance that a flaw's pixel stands above a normal one, ties counting half."""
    if pixels.missing:
        return Metric(None, n=len(pixels.counts), reason=pixels.missing)
    value = float(area_up_to(pixels.above, pixels.at_or_above, limit=1.0).mean())
    return _with_interval(pixels, value, PixelBins.auroc, n=len(pixels.counts))


def average_precision(pixels: Pixels) -> Metric:
    """Return the mean precision over the flaws' pixels, each at its own value as the threshold."""
    if pixels.missing:
        return Metric(None, n=len(pixels.counts), reason=pixels.missing)
    rising = np.sort(pixels.values)
    true = len(rising) - np.searchsorted(rising, pixels.values, side="left")
    value = float((true / (true + pixels.at_or_above * pixels.normal)).mean())
    return _with_interval(pixels, value, PixelBins.average_precision, n=len(pixels.counts))


def aupro(pixels: Pixels, limit: float) -> Metric:
    """Return the mean share of each region that is marked, over false-alarm rates from 0 to `limit`.

    The area is divided by `limit`, so it runs from 0 to 1. `n` counts regions.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"a limit of the false-alarm rate is above 0 and up to 1, not {limit}")
    if pixels.missing:
        return Metric(None, n=pixels.regions, reason=pixels.missing)
    area = area_up_to(pixels.above, pixels.at_or_above, limit=limit)
    value = float((area * pixels.shares).sum() / pixels.regions)
    return _with_interval(pixels, value, lambda bins, draws: bins.aupro(draws, limit), n=pixels.regions)


def aupimo(pixels: Pixels) -> Metric:
    """Return AUPIMO: per bad image, the mean recall over false-alarm rates 1e-5 to 1e-4 on a log scale.

    False alarms are counted on good images only and averaged over them. Undefined where good images have
    fewer than 1e5 pixels, as then such rates cannot be told apart. `n` counts bad images.
    """
    images = int((~pixels.bins.is_good).sum())
    if not len(pixels.values):
        return Metric(None, n=images, reason=_NO_FLAW)
    needed = round(1 / AUPIMO_BOUNDS[0])
    if pixels.good_pixels < needed:
        reason = f"good images have {pixels.good_pixels} pixels, and {needed} are needed for rates of 1e-5"
        return Metric(None, n=images, reason=reason)
    recall = log_recall(pixels.good_alarms, bounds=AUPIMO_BOUNDS)
    value = float((recall * pixels.image_shares).sum() / images)
    return _with_interval(pixels, value, lambda bins, draws: bins.aupimo(draws, AUPIMO_BOUNDS), n=images)


def seg_f1(pixels: Pixels) -> Metric:
    """Return 2 TP / (2 TP + FP + FN) over all pixels of all images at the fixed pixel threshold."""
    true, false, missed = (int(count) for count in pixels.counts.sum(axis=0))
    if true + missed == 0:
        return Metric(None, n=len(pixels.counts), reason=_NO_FLAW)
    value = 2 * true / (2 * true + false + missed)

    def resampled(_: PixelBins, draws: Array) -> Array:
        t, f, m = (draws @ pixels.counts).T
        return np.asarray(2 * t / np.maximum(2 * t + f + m, 1))

    return _with_interval(pixels, value, resampled, n=len(pixels.counts))


def area_up_to(above: Array, at_or_above: Array, *, limit: float) -> Array:
    """Return, for each flaw's pixel, the share of false-alarm rates 0 to `limit` at which it is marked.

    A pixel is marked once the rate passes the share of normal pixels above it. Where normal pixels tie with
    it, it counts as marked in proportion, which is the trapezoid of the usual curve.
    """
    tied = at_or_above - above
    within = np.clip(limit - above, 0.0, tied)
    partly = np.divide(within**2, 2 * tied, out=np.zeros_like(tied), where=tied > 0)
    area: Array = (partly + np.maximum(limit - at_or_above, 0.0)) / limit
    return area


def log_recall(alarms: Array, *, bounds: tuple[float, float]) -> Array:
    """Return, for each flaw's pixel, the share of log false-alarm rates within `bounds` that mark it."""
    low, high = bounds
    share: Array = np.log(high / np.clip(alarms, low, high)) / math.log(high / low)
    return share


def _with_interval(pixels: Pixels, value: float, statistic: object, *, n: int) -> Metric:
    low, high = image_interval(pixels.bins, statistic, value)  # type: ignore[arg-type]
    return Metric(value, low, high, n)


def _checked(heat: Array, mask: Array | None, *, place: int) -> tuple[Array, Array | None]:
    heat = np.asarray(heat, np.float32)
    if heat.ndim != 2 or not np.isfinite(heat).all():
        raise ValueError(f"map {place} must be (h, w) and finite, not {heat.shape}")
    if mask is None:
        return heat, None
    mask = np.asarray(mask).astype(np.bool_)
    if mask.shape != heat.shape:
        raise ValueError(f"mask {place} is {mask.shape}, and its map is {heat.shape}")
    return heat, mask


def _normal(heat: Array, mask: Array | None) -> Array:
    heat = np.asarray(heat, np.float32)
    return heat.ravel() if mask is None else heat[~np.asarray(mask).astype(np.bool_)]


def _top(values: Array, k: int) -> Array:
    """Return the k largest values in any order."""
    return values if k >= len(values) else np.partition(values, len(values) - k)[len(values) - k :]


def _weight_at_or_above(values: Array, tail: Array, weights: Array) -> Array:
    order = np.argsort(tail)
    below = np.concatenate([[0.0], np.cumsum(weights[order][::-1])])[::-1]
    shares: Array = below[np.searchsorted(tail[order], values, side="left")]
    return shares


class _Counted:
    """The normal pixels' values, sorted exactly while they are few, rounded and counted when many."""

    def __init__(self) -> None:
        self.total = 0
        self._waiting: list[Array] = []
        self._waiting_size = 0
        self._values = np.zeros(0, np.float32)
        self._counts: Array | None = None  # None: every value counts once
        self._ready = False

    def add(self, values: Array) -> None:
        """Take in values, float32 (n,)."""
        self._waiting.append(values)
        self._waiting_size += len(values)
        self.total += len(values)
        if self._waiting_size > EXACT_PIXELS:
            self._compress()

    def rounded(self, values: Array) -> Array:
        """Return values as coarse as those that were counted."""
        return values if self._counts is None else _coarse(values)

    def shares_above(self, values: Array) -> tuple[Array, Array]:
        """Return the shares of normal pixels above, and at or above, each value: float64 (n,) twice."""
        self._finish()
        if not self.total or not len(values):
            return np.zeros(len(values)), np.zeros(len(values))
        order = np.argsort(values)  # sorted look-ups stay in the cache
        shares = np.empty((2, len(values)))
        for row, side in enumerate(("right", "left")):
            places = np.searchsorted(self._values, values[order], side=side)  # type: ignore[call-overload]
            shares[row, order] = (self.total - self._below(places)) / self.total
        return shares[0], shares[1]

    def quantiles(self, shares: Array) -> Array:
        """Return the values with the given shares of normal pixels below: float32."""
        self._finish()
        if not self.total:
            return np.zeros(0, np.float32)
        ranks = np.clip((shares * self.total).astype(np.int64), 0, self.total - 1)
        if self._counts is None:
            return self._values[ranks]
        return self._values[np.searchsorted(np.cumsum(self._counts), ranks, side="right")]

    def _below(self, places: Array) -> Array:
        if self._counts is None:
            return places
        below: Array = np.concatenate([[0], np.cumsum(self._counts)])[places]
        return below

    def _finish(self) -> None:
        if self._ready:
            return
        if self._counts is not None:
            if self._waiting:
                self._compress()
        elif self._waiting:
            self._values = np.concatenate(self._waiting)
            self._waiting.clear()
            self._values.sort()
        self._ready = True

    def _compress(self) -> None:
        """Count what waits and add it to what was counted: far fewer distinct values than pixels."""
        waiting = np.concatenate([_coarse(values) for values in self._waiting])
        self._waiting.clear()
        self._waiting_size = 0
        distinct, counts = np.unique(waiting, return_counts=True)
        if self._counts is not None:
            counts = np.concatenate([self._counts, counts])
        self._values, places = np.unique(np.concatenate([self._values, distinct]), return_inverse=True)
        self._counts = np.bincount(places, counts, minlength=len(self._values)).astype(np.int64)


def _coarse(values: Array) -> Array:
    """Cut the mantissa to 15 bits; order is kept, though neighbours may become equal."""
    cut: Array = (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFFFF00)).view(np.float32)
    return cut
