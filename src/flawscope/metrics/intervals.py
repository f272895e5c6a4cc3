"""Intervals for shares, rankings and whatever a resample can measure; numpy only.

Wilson (1927) for shares, DeLong, DeLong and Clarke-Pearson (1988) in the fast form of Sun and Xu (2014) for
the AUROC, the percentile bootstrap for the rest.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from flawscope.core.rng import derive
from flawscope.core.types import Array, Metric

CONFIDENCE = 0.95
RESAMPLES = 1000


def wilson(successes: float, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's interval for a share of `successes` among `n` (n at least 1), within 0 to 1."""
    if n < 1 or not 0 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    share = min(1.0, successes / n)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula gives the end itself but for rounding.
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def share(successes: int, n: int, *, reason: str) -> Metric:
    """Return a share with Wilson's interval; where `n` is 0 there is no value, for `reason`."""
    if n == 0:
        return Metric(None, reason=reason)
    low, high = wilson(successes, n)
    return Metric(successes / n, low, high, n)


def delong(bad: Array, good: Array, *, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the AUROC of bad against good scores with DeLong's interval on the logit scale.

    Where the two are perfectly apart the variance is zero; then the open end is Wilson's, as if the smaller
    class had been counted. Both need at least one score.
    """
    m, n = len(bad), len(good)
    if m == 0 or n == 0:
        raise ValueError("an AUROC needs good and bad scores")
    together = midranks(np.concatenate([bad, good]))
    of_bad = (together[:m] - midranks(bad)) / n  # share of good scores below each bad one
    of_good = 1.0 - (together[m:] - midranks(good)) / m  # share of bad scores above each good one
    area = float(of_bad.mean())
    if area <= 0.0 or area >= 1.0:
        low, high = wilson(round(area) * min(m, n), min(m, n), confidence=confidence)
        return round(area), low, high
    variance = (of_bad.var(ddof=1) / m if m > 1 else 0.0) + (of_good.var(ddof=1) / n if n > 1 else 0.0)
    if m == 1 or n == 1 or variance <= 0.0:
        low, high = wilson(area * min(m, n), min(m, n), confidence=confidence)
        return area, low, high
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = math.log(area / (1 - area))
    half = z * math.sqrt(variance) / (area * (1 - area))
    return area, _expit(centre - half), _expit(centre + half)


def midranks(values: Array) -> Array:
    """Return the ranks from 1, ties sharing the middle of theirs: float64 (n,)."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Array = (ends - (counts - 1) / 2.0)[inverse.reshape(len(values))]
    return ranks if distinct.size else np.zeros(0)


def resampling_counts(strata: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """Return how often each item is drawn in each bootstrap resample: float64 (resamples, n).

    Items are drawn with replacement within their stratum (`strata`: any labels (n,)), so that every resample
    has as many good and bad ones as the original.
    """
    generator = derive(seed, "bootstrap")
    counts = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        even = np.full(len(members), 1.0 / len(members))
        counts[:, members] = generator.multinomial(len(members), even, size=resamples)
    return counts


def percentile_interval(
    measured: Array, value: float, *, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return the percentile interval of resampled measurements, made to hold `value`.

    Resamples without a value (NaN) are left out; None where fewer than half have one.
    """
    defined = measured[np.isfinite(measured)]
    if len(defined) * 2 < len(measured) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return min(float(low), value), max(float(high), value)


def _expit(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
