"""Two groups of values compared: do they differ, and by how much.

Welch (1947) for the means, Mann and Whitney (1947) for the ranks, Hedges' g (1981) and Cliff's delta (1993,
the rank-biserial correlation of two groups) for the size of the difference. What is undefined has no value
but a reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from flawscope.core.types import Array, Json, Metric
from flawscope.metrics.intervals import CONFIDENCE, delong


@dataclass(frozen=True)
class Test:
    """A test's statistic and two-sided p-value; both None where `reason` says why there are none."""

    __test__ = False  # no test of pytest's

    statistic: float | None
    p: float | None
    n: int
    reason: str = ""

    def to_json(self) -> Json:
        """Return statistic, p and n; the reason only where there is no value."""
        values: Json = {"statistic": self.statistic, "p": self.p, "n": self.n}
        return values | {"reason": self.reason} if self.p is None else values


def welch(bad: Array, good: Array) -> Test:
    """Compare the means of bad and good values without taking their variances as equal; the statistic is t,
    positive where bad ones are larger. Needs two of each, and some variance."""
    n = len(bad) + len(good)
    if reason := _missing(bad, good, least=2):
        return Test(None, None, n, reason)
    if not (np.ptp(bad) > 0 or np.ptp(good) > 0):
        return Test(None, None, n, "neither group varies")
    from scipy.special import stdtr  # slow to load

    errors = [values.var(ddof=1) / len(values) for values in (bad, good)]
    t = float((bad.mean() - good.mean()) / math.sqrt(sum(errors)))
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(bad) - 1) + errors[1] ** 2 / (len(good) - 1))
    return Test(t, float(2 * stdtr(freedom, -abs(t))), n)


def mann_whitney(bad: Array, good: Array) -> Test:
    """Compare the ranks of bad and good values; the statistic is U of the bad ones; ties share
    theirs."""
    n = len(bad) + len(good)
    if reason := _missing(bad, good, least=1):
        return Test(None, None, n, reason)
    if not np.ptp(np.concatenate([bad, good])) > 0:
        return Test(None, None, n, "all values are equal")
    from scipy.stats import mannwhitneyu  # slow to load

    found = mannwhitneyu(bad, good, alternative="two-sided")
    return Test(float(found.statistic), float(found.pvalue), n)


def hedges_g(bad: Array, good: Array) -> Metric:
    """Return the difference of the means in pooled deviations, corrected for small groups, with its normal
    interval; positive where bad ones are larger."""
    m, k = len(bad), len(good)
    if reason := _missing(bad, good, least=2):
        return Metric(None, n=m + k, reason=reason)
    pooled = ((m - 1) * bad.var(ddof=1) + (k - 1) * good.var(ddof=1)) / (m + k - 2)
    if not pooled > 0:
        return Metric(None, n=m + k, reason="neither group varies")
    g = float((bad.mean() - good.mean()) / math.sqrt(pooled)) * (1 - 3 / (4 * (m + k) - 9))
    error = math.sqrt((m + k) / (m * k) + g * g / (2 * (m + k)))
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Metric(g, g - half, g + half, m + k)


def cliffs_delta(bad: Array, good: Array) -> Metric:
    """Return how much more often a bad value is the larger of a pair than the smaller: -1 to 1, with DeLong's
    interval; 2 AUROC - 1."""
    if reason := _missing(bad, good, least=1):
        return Metric(None, n=len(bad) + len(good), reason=reason)
    value, low, high = delong(bad, good)
    return Metric(2 * value - 1, 2 * low - 1, 2 * high - 1, len(bad) + len(good))


def _missing(bad: Array, good: Array, *, least: int) -> str:
    for name, values in (("defective", bad), ("good", good)):
        if len(values) < least:
            parts = "part" if least == 1 else "parts"
            return f"it needs at least {least} {name} {parts}, and there are {len(values)}"
    return ""
