"""How well scores rank bad parts above good ones, at no threshold in particular.

AUROC has DeLong's interval; average precision and recall at a rate of false alarms have a bootstrap over
parts, stratified into good and bad.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flawscope.core.types import Array, Metric
from flawscope.metrics.intervals import delong, percentile_interval, resampling_counts, wilson

CURVE_POINTS = 200
_BLOCK = 4_000_000  # resampled counts held at once

Statistic = Callable[[Array, Array], Array]


def auroc(scores: Array, is_bad: Array) -> Metric:
    """Return the chance that a bad part scores above a good one, ties counting half: 0 to 1."""
    scores, is_bad = _checked(scores, is_bad)
    missing = _missing(is_bad)
    if missing:
        return Metric(None, n=len(scores), reason=missing)
    value, low, high = delong(scores[is_bad], scores[~is_bad])
    return Metric(value, low, high, len(scores))


def average_precision(scores: Array, is_bad: Array, *, seed: int = 0) -> Metric:
    """Return the mean precision over the bad parts, each at its own score as the limit: 0 to 1."""
    return _bootstrapped(scores, is_bad, _average_precision, seed=seed)


def recall_at_false_alarms(scores: Array, is_bad: Array, rate: float, *, seed: int = 0) -> Metric:
    """Return the share of bad parts found by the lowest limit with at most `rate` (0 to 1) false alarms."""
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate of false alarms is 0 to 1, not {rate}")

    def recall(bad: Array, good: Array) -> Array:
        return _recall_at(bad, good, rate)

    return _bootstrapped(scores, is_bad, recall, seed=seed)


def paired_gain(
    first: Array, second: Array, is_bad: Array, *, measure: str = "auroc", rate: float = 0.05, seed: int = 0
) -> Metric:
    """Return how much better the second scores rank the same parts than the first: -1 to 1, with a bootstrap
    in which both are resampled alike. `measure` is auroc, ap, or recall at a `rate` of false alarms."""
    first, is_bad = _checked(first, is_bad)
    second, is_bad = _checked(second, is_bad)
    missing = _missing(is_bad)
    if missing:
        return Metric(None, n=len(first), reason=missing)
    statistic = _statistic(measure, rate)
    value = float(statistic(*_grouped(second, is_bad)) - statistic(*_grouped(first, is_bad)))
    apart = _resampled(second, is_bad, statistic, seed=seed) - _resampled(first, is_bad, statistic, seed=seed)
    interval = percentile_interval(apart, value)
    assert interval is not None  # every resample holds good and bad ones
    return Metric(value, interval[0], interval[1], len(first))


def roc_curve(scores: Array, is_bad: Array, *, points: int = CURVE_POINTS) -> dict[str, list[float]]:
    """Return false alarms (x) and recall (y) of every limit, thinned to `points`; empty where undefined."""
    scores, is_bad = _checked(scores, is_bad)
    if _missing(is_bad):
        return {"x": [], "y": []}
    bad, good = _grouped(scores, is_bad)
    x = np.concatenate([[0.0], np.cumsum(good) / good.sum()])
    y = np.concatenate([[0.0], np.cumsum(bad) / bad.sum()])
    return _thinned(x, y, points=points)


def pr_curve(scores: Array, is_bad: Array, *, points: int = CURVE_POINTS) -> dict[str, list[float]]:
    """Return recall (x) and precision (y) of every limit, thinned to `points`; empty where undefined."""
    scores, is_bad = _checked(scores, is_bad)
    if _missing(is_bad):
        return {"x": [], "y": []}
    bad, good = _grouped(scores, is_bad)
    found, alarms = np.cumsum(bad), np.cumsum(good)
    x, y = found / bad.sum(), found / (found + alarms)
    return _thinned(np.concatenate([[0.0], x]), np.concatenate([y[:1], y]), points=points)


def _checked(scores: Array, is_bad: Array) -> tuple[Array, Array]:
    scores, is_bad = np.asarray(scores, np.float64), np.asarray(is_bad, np.bool_)
    if scores.ndim != 1 or scores.shape != is_bad.shape:
        raise ValueError(f"scores {scores.shape} and labels {is_bad.shape} must be lists of one length")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite; leave out what could not be judged")
    return scores, is_bad


def _missing(is_bad: Array) -> str:
    if not is_bad.any():
        return "no bad part among those judged"
    return "" if not is_bad.all() else "no good part among those judged"


def _grouped(scores: Array, is_bad: Array, counts: Array | None = None) -> tuple[Array, Array]:
    """Return how many bad and good parts stand at each distinct score, highest first: (..., distinct)."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    counts = np.ones(len(scores)) if counts is None else counts
    bad = np.add.reduceat(counts[..., order] * is_bad[order], starts, axis=-1)
    good = np.add.reduceat(counts[..., order] * ~is_bad[order], starts, axis=-1)
    return bad, good


def _average_precision(bad: Array, good: Array) -> Array:
    found, alarms = np.cumsum(bad, axis=-1), np.cumsum(good, axis=-1)
    precision = found / np.maximum(found + alarms, 1.0)
    return np.asarray((bad * precision).sum(axis=-1) / bad.sum(axis=-1))


def _recall_at(bad: Array, good: Array, rate: float) -> Array:
    allowed = rate * good.sum(axis=-1, keepdims=True) * (1 + 1e-9)  # 5 % of 20 is one, whatever the rounding
    kept = np.cumsum(good, axis=-1) <= allowed
    return np.asarray((bad * kept).sum(axis=-1) / bad.sum(axis=-1))


def _statistic(measure: str, rate: float) -> Statistic:
    if measure == "recall":
        return lambda bad, good: _recall_at(bad, good, rate)
    return {"auroc": _auroc, "ap": _average_precision}[measure]


def _auroc(bad: Array, good: Array) -> Array:
    below = good.sum(axis=-1, keepdims=True) - np.cumsum(good, axis=-1) + good / 2
    pairs = bad.sum(axis=-1) * good.sum(axis=-1)
    return np.asarray((bad * below).sum(axis=-1) / pairs)


def _bootstrapped(scores: Array, is_bad: Array, statistic: Statistic, *, seed: int) -> Metric:
    scores, is_bad = _checked(scores, is_bad)
    missing = _missing(is_bad)
    if missing:
        return Metric(None, n=len(scores), reason=missing)
    value = float(statistic(*_grouped(scores, is_bad)))
    measured = _resampled(scores, is_bad, statistic, seed=seed)
    smaller = int(min(is_bad.sum(), (~is_bad).sum()))
    if np.ptp(measured) == 0:
        # Resamples of a perfect (or worst) ranking show no spread; that is not certainty.
        low, high = wilson(value * smaller, smaller)
        return Metric(value, min(low, value), max(high, value), len(scores))
    interval = percentile_interval(measured, value)
    if interval is None:
        return Metric(value, n=len(scores))
    return Metric(value, interval[0], interval[1], len(scores))


def _resampled(scores: Array, is_bad: Array, statistic: Statistic, *, seed: int) -> Array:
    """Measure every resample, in blocks so that memory stays bounded."""
    resamples = 1000 if len(scores) <= 20_000 else 200
    block = max(1, min(resamples, _BLOCK // len(scores)))
    measured = []
    for number, start in enumerate(range(0, resamples, block)):
        size = min(block, resamples - start)
        counts = resampling_counts(is_bad, seed=seed + 7919 * number, resamples=size)
        measured.append(statistic(*_grouped(scores, is_bad, counts)))
    return np.concatenate(measured)


def _thinned(x: Array, y: Array, *, points: int) -> dict[str, list[float]]:
    """Keep points evenly spaced along the curve, both ends included."""
    if len(x) > points:
        way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], points)).clip(0, len(x) - 1))
        kept[-1] = len(x) - 1
        x, y = x[kept], y[kept]
    return {"x": [round(float(v), 6) for v in x], "y": [round(float(v), 6) for v in y]}
