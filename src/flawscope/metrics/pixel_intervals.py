"""Intervals of pixel metrics: a bootstrap over images on counts in about a thousand bins.

Pixels of one image depend on each other, so images are resampled, good and bad ones apart. Each image's
pixels are counted once in bins that are fine where the metrics look (high values); a resample is then a
product of matrices. The bins blur every resample alike, so their difference from the exact value is taken
off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Array
from flawscope.metrics.intervals import percentile_interval, resampling_counts

RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class PixelBins:
    """Pixels counted by image and by bin, bins from the highest values to the lowest."""

    normal: Array  # float64 (images, bins), normal pixels
    found: Array  # float64 (images, bins), flaws' pixels
    region_mass: Array  # float64 (images, bins), flaws' pixels, each region adding up to one
    regions: Array  # float64 (images,)
    sizes: Array  # float64 (images,), pixels
    is_good: Array  # bool (images,)

    @classmethod
    def of(
        cls,
        edges: Array,
        *,
        normal: Iterable[Array],
        found: Array,
        owner: Array,
        shares: Array,
        regions: Array,
        sizes: Array,
        is_good: Array,
    ) -> PixelBins:
        """Count normal pixels (one array an image) and flaws' pixels (their images in `owner`)."""
        images, bins = len(sizes), len(edges) + 1
        counted = np.zeros((images, bins))
        for row, values in enumerate(normal):
            counted[row] = np.bincount(np.searchsorted(edges, values), minlength=bins)
        places = owner * bins + np.searchsorted(edges, found)
        flat = images * bins
        return cls(
            normal=counted[:, ::-1],
            found=np.bincount(places, minlength=flat).reshape(images, bins)[:, ::-1].astype(np.float64),
            region_mass=np.bincount(places, shares, minlength=flat).reshape(images, bins)[:, ::-1],
            regions=regions.astype(np.float64),
            sizes=sizes,
            is_good=is_good,
        )

    def auroc(self, draws: Array) -> Array:
        """Return the pixel AUROC of each resample; `draws` is float64 (resamples, images)."""
        above, at_or_above = self._alarms(draws)
        found = draws @ self.found
        return np.asarray((found * (1 - (above + at_or_above) / 2)).sum(1) / found.sum(1))

    def average_precision(self, draws: Array) -> Array:
        """Return the pixel AP of each resample."""
        found, normal = draws @ self.found, draws @ self.normal
        true, false = np.cumsum(found, 1), np.cumsum(normal, 1)
        return np.asarray((found * true / np.maximum(true + false, 1)).sum(1) / found.sum(1))

    def aupro(self, draws: Array, limit: float) -> Array:
        """Return the AUPRO of each resample up to the false-alarm rate `limit`."""
        above, at_or_above = self._alarms(draws)
        tied = at_or_above - above
        within = np.clip(limit - above, 0.0, tied)
        partly = np.divide(within**2, 2 * tied, out=np.zeros_like(tied), where=tied > 0)
        area = (partly + np.maximum(limit - at_or_above, 0.0)) / limit
        return np.asarray((draws @ self.region_mass * area).sum(1) / (draws @ self.regions))

    def aupimo(self, draws: Array, bounds: tuple[float, float]) -> Array:
        """Return the AUPIMO of each resample."""
        low, high = bounds
        good, bad = draws[:, self.is_good], draws[:, ~self.is_good]
        per_image = self.normal[self.is_good] / self.sizes[self.is_good, None]
        alarms = np.cumsum(good @ per_image, 1) / good.sum(1, keepdims=True)
        recall = np.log(high / np.clip(alarms, low, high)) / math.log(high / low)
        found = self.found[~self.is_good]
        shares = found / found.sum(1, keepdims=True)
        return np.asarray(((bad @ shares) * recall).sum(1) / bad.sum(1))

    def _alarms(self, draws: Array) -> tuple[Array, Array]:
        normal = draws @ self.normal
        at_or_above = np.cumsum(normal, 1) / normal.sum(1, keepdims=True)
        above = np.concatenate([np.zeros((len(draws), 1)), at_or_above[:, :-1]], axis=1)
        return above, at_or_above


def bin_edges(quantiles: Callable[[Array], Array], found: Array, tail: Array) -> Array:
    """Return rising edges: even quantiles of normal pixels, ever finer towards the top, and of the flaws."""
    even = np.linspace(0.0, 1.0, 257)
    fine = 1.0 - np.geomspace(1e-7, 0.3, 384)
    edges = [quantiles(even), quantiles(fine)]
    for values, shares in ((found, even), (tail, 1.0 - np.geomspace(1e-4, 1.0, 256))):
        if len(values):
            rising = np.sort(values)
            edges.append(rising[(shares * (len(rising) - 1)).astype(np.int64)])
    return np.unique(np.concatenate(edges))


def image_interval(
    bins: PixelBins, statistic: Callable[[PixelBins, Array], Array], value: float, *, seed: int = 0
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a metric over resampled images; None, None with fewer than two bad ones."""
    if (~bins.is_good).sum() < 2:
        return None, None
    draws = resampling_counts(bins.is_good, seed=seed, resamples=RESAMPLES)
    blurred = float(statistic(bins, np.ones((1, len(bins.sizes))))[0])
    interval = percentile_interval(statistic(bins, draws) + (value - blurred), value)
    if interval is None:
        return None, None
    return max(0.0, interval[0]), min(1.0, interval[1])
