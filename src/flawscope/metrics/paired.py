"""Two models on the same photographs: is the difference real with so many of them?

A paired bootstrap over parts and seeds. Each resample draws parts with replacement, good and defective ones
apart, and seeds with replacement, and all models are measured on the same draw: what makes one photograph
hard for every model cancels out in the difference. Several comparisons share the risk of a false claim by
Holm (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.rng import derive
from flawscope.core.types import Array, Json, Metric
from flawscope.metrics.intervals import percentile_interval, resampling_counts, wilson

RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Draws:
    """The resamples that all models share: how often each photograph and each seed is drawn."""

    photographs: Array  # float64 (resamples, n)
    seeds: Array  # float64 (resamples, seeds), each row adding up to 1
    parts: Array  # int (n,): photographs of one part share theirs

    def count(self, among: Array) -> int:
        """Return how many parts some photographs, bool (n,), show."""
        return len(np.unique(self.parts[among]))


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value and what the resamples make of it."""

    value: float
    resampled: Array  # float64 (resamples,)
    n: int  # photographs it rests on
    least: int  # parts that bound it where no resample differs: those of the smaller class

    def metric(self) -> Metric:
        """Return the value with its percentile interval; where every resample gives the same (all right, or
        all wrong), its open end is Wilson's."""
        interval = percentile_interval(self.resampled, self.value)
        if interval is None:
            return Metric(self.value, n=self.n)
        low, high = interval
        if low == high and 0 <= low <= 1:
            low, high = wilson(self.value * self.least, self.least)
        return Metric(self.value, low, high, self.n)


@dataclass(frozen=True)
class Difference:
    """How far one model is from another: first less second, with interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float
    real: bool = False  # after Holm, at 5 % for all comparisons together

    def to_json(self) -> Json:
        """Return all values as JSON."""
        return dict(vars(self))


def draw(
    parts: Sequence[str], is_bad: Array, seeds: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Draws:
    """Return shared resamples of photographs, bool `is_bad` (n,), drawn by their parts, and of seeds."""
    names, index = np.unique(np.asarray(parts, dtype=object).astype(str), return_inverse=True)
    bad_parts = np.zeros(len(names), np.bool_)
    np.logical_or.at(bad_parts, index, is_bad)
    counts = resampling_counts(bad_parts, seed=seed, resamples=resamples)[:, index]
    drawn = derive(seed, "seeds").multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    return Draws(counts, drawn, index)


def auroc(scores: Array, is_bad: Array, draws: Draws) -> Estimate:
    """Return the AUROC, averaged over seeds, of scores float64 (seeds, n)."""
    ones = np.ones((1, len(is_bad)))
    values = [float(_weighted_auroc(row, is_bad, ones)[0]) for row in scores]
    resampled = np.stack([_weighted_auroc(row, is_bad, draws.photographs) for row in scores], 1)
    least = min(draws.count(is_bad), draws.count(~is_bad))
    return Estimate(float(np.mean(values)), (resampled * draws.seeds).sum(1), len(is_bad), least)


def share(hits: Array, among: Array, draws: Draws) -> Estimate:
    """Return the share of hits, bool (seeds, n), among some photographs, bool (n,), averaged over seeds."""
    counts = draws.photographs[:, among]
    chosen = hits[:, among].astype(np.float64)
    resampled = (counts @ chosen.T) / np.maximum(counts.sum(1, keepdims=True), 1e-12)
    n = int(among.sum())
    return Estimate(float(chosen.mean()), (resampled * draws.seeds).sum(1), n, draws.count(among))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates on several products, whose resamples are independent."""
    return Estimate(
        float(np.mean([one.value for one in estimates])),
        np.mean([one.resampled for one in estimates], axis=0),
        sum(one.n for one in estimates),
        sum(one.least for one in estimates),
    )


def difference(first: Estimate, second: Estimate) -> Difference:
    """Compare two models measured on the same resamples."""
    value = first.value - second.value
    apart = first.resampled - second.resampled
    interval = percentile_interval(apart, value)
    low, high = interval if interval is not None else (value, value)
    n = len(apart)
    below, above = int((apart <= 0).sum()), int((apart >= 0).sum())
    return Difference(value, low, high, min(1.0, 2 * (min(below, above) + 1) / (n + 1)))


def holm(p_values: Sequence[float], *, level: float = 0.05) -> tuple[bool, ...]:
    """Return which of several comparisons hold when all of them together may err with probability `level`."""
    order = np.argsort(p_values, kind="stable")
    kept = [False] * len(p_values)
    for rank, place in enumerate(order.tolist()):
        if p_values[place] > level / (len(p_values) - rank):
            break
        kept[place] = True
    return tuple(kept)


def _weighted_auroc(scores: Array, is_bad: Array, counts: Array) -> Array:
    """Return the AUROC of scores (n,) under weights (resamples, n); NaN where a class is not drawn."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    weights = counts[:, order]
    bad = np.add.reduceat(np.where(is_bad[order], weights, 0.0), starts, axis=1)
    good = np.add.reduceat(np.where(is_bad[order], 0.0, weights), starts, axis=1)
    below = np.cumsum(good, 1) - good / 2
    pairs = bad.sum(1) * good.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area: Array = np.where(pairs > 0, (bad * below).sum(1) / pairs, np.nan)
    return area
