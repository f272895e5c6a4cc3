"""Right and wrong verdicts at a bundle's fixed limits; how far probabilities can be believed.

NG is the positive call; OK and REVIEW are not NG. Therefore the textbook identities hold (specificity is one
less overkill), and REVIEW is counted apart: `escape` is bad called OK, so recall, escape and the share of bad
parts in REVIEW add up to one. What could not be judged is left out everywhere but in its own share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.rng import derive
from flawscope.core.types import Array, Metric, Verdict
from flawscope.metrics.intervals import (
    RESAMPLES,
    percentile_interval,
    resampling_counts,
    share,
    wilson,
)

NOT_JUDGED = "not_judged"
BINS = 15  # of equal mass, by which probabilities are compared with what came
_CALIBRATION_RESAMPLES = 200
_NO_GOOD, _NO_BAD = "no good part among those judged", "no bad part among those judged"


@dataclass(frozen=True)
class VerdictCounts:
    """How many good and bad parts were called OK, REVIEW and NG, and how many parts were not judged."""

    good_ok: int
    good_review: int
    good_ng: int
    bad_ok: int
    bad_review: int
    bad_ng: int
    not_judged: int

    @classmethod
    def of(cls, verdicts: Sequence[Verdict | None], is_bad: Sequence[bool] | Array) -> VerdictCounts:
        """Count verdicts; None stands for a part that could not be judged."""
        if len(verdicts) != len(is_bad):
            raise ValueError(f"{len(verdicts)} verdicts and {len(is_bad)} labels differ in number")
        pairs = [
            (verdict, bool(bad)) for verdict, bad in zip(verdicts, is_bad, strict=True) if verdict is not None
        ]
        return cls(
            good_ok=pairs.count((Verdict.OK, False)),
            good_review=pairs.count((Verdict.REVIEW, False)),
            good_ng=pairs.count((Verdict.NG, False)),
            bad_ok=pairs.count((Verdict.OK, True)),
            bad_review=pairs.count((Verdict.REVIEW, True)),
            bad_ng=pairs.count((Verdict.NG, True)),
            not_judged=len(verdicts) - len(pairs),
        )

    @property
    def good(self) -> int:
        """Judged good parts."""
        return self.good_ok + self.good_review + self.good_ng

    @property
    def bad(self) -> int:
        """Judged bad parts."""
        return self.bad_ok + self.bad_review + self.bad_ng

    @property
    def judged(self) -> int:
        """Judged parts."""
        return self.good + self.bad


def accuracy(counts: VerdictCounts) -> Metric:
    """Return the share of judged parts that are good and not NG, or bad and NG."""
    right = counts.good_ok + counts.good_review + counts.bad_ng
    return share(right, counts.judged, reason="no part was judged")


def precision(counts: VerdictCounts) -> Metric:
    """Return the share of bad parts among those called NG."""
    return share(counts.bad_ng, counts.bad_ng + counts.good_ng, reason="no part was called NG")


def recall(counts: VerdictCounts) -> Metric:
    """Return the share of bad parts that are called NG."""
    return share(counts.bad_ng, counts.bad, reason=_NO_BAD)


def specificity(counts: VerdictCounts) -> Metric:
    """Return the share of good parts that are not called NG: one less overkill."""
    return share(counts.good_ok + counts.good_review, counts.good, reason=_NO_GOOD)


def overkill(counts: VerdictCounts) -> Metric:
    """Return the share of good parts that are called NG."""
    return share(counts.good_ng, counts.good, reason=_NO_GOOD)


def escape(counts: VerdictCounts) -> Metric:
    """Return the share of bad parts that are called OK."""
    return share(counts.bad_ok, counts.bad, reason=_NO_BAD)


def review_share(counts: VerdictCounts) -> Metric:
    """Return the share of judged parts, good and bad, that are sent to REVIEW."""
    return share(counts.good_review + counts.bad_review, counts.judged, reason="no part was judged")


def not_judged_share(counts: VerdictCounts) -> Metric:
    """Return the share of all parts that could not be judged."""
    return share(counts.not_judged, counts.judged + counts.not_judged, reason="there is no part")


def f1(counts: VerdictCounts, *, seed: int = 0) -> Metric:
    """Return 2 TP / (2 TP + FP + FN) of NG, with a bootstrap over parts stratified into good and bad."""
    if counts.bad == 0:
        return Metric(None, n=counts.judged, reason=_NO_BAD)
    value = 2 * counts.bad_ng / (counts.bad + counts.bad_ng + counts.good_ng)
    generator = derive(seed, "bootstrap")
    found = generator.binomial(counts.bad, counts.bad_ng / counts.bad, size=RESAMPLES)
    alarm_rate = counts.good_ng / counts.good if counts.good else 0.0
    alarms = generator.binomial(counts.good, alarm_rate, size=RESAMPLES)
    measured = 2 * found / (counts.bad + found + alarms)
    if np.ptp(measured) == 0:
        low, high = wilson(value * counts.bad, counts.bad)  # no spread is not certainty
        return Metric(value, low, high, counts.judged)
    interval = percentile_interval(measured, value)
    if interval is None:
        return Metric(value, n=counts.judged)
    return Metric(value, interval[0], interval[1], counts.judged)


def expected_calibration_error(
    probabilities: Sequence[float] | Array, is_bad: Sequence[bool] | Array, *, seed: int = 0
) -> Metric:
    """Return how far probabilities of bad (0 to 1) lie from the shares of bad parts, on average.

    Parts are sorted by probability and dealt into 15 bins of equal mass; within each, the mean probability is
    compared with the share that is bad (equal-mass bins: Nguyen and O'Connor 2015). Interval: percentile
    bootstrap over parts, good and bad apart.
    """
    return _resampled(probabilities, is_bad, _binned_gap, seed=seed)


def brier_score(
    probabilities: Sequence[float] | Array, is_bad: Sequence[bool] | Array, *, seed: int = 0
) -> Metric:
    """Return the mean squared distance between the probability of bad and what the part is (0 or 1), with a
    percentile bootstrap over parts, good and bad apart (Brier 1950)."""

    def mean_square(values: Array, truth: Array, weights: Array) -> float:
        return float(np.average((values - truth) ** 2, weights=weights))

    return _resampled(probabilities, is_bad, mean_square, seed=seed)


def class_accuracy(labels: Sequence[str], predicted: Sequence[str]) -> Metric:
    """Return the share of parts whose most likely class is what they are."""
    right = sum(one == other for one, other in zip(labels, predicted, strict=True))
    return share(right, len(labels), reason="no part was judged")


def macro_f1(labels: Sequence[str], predicted: Sequence[str], *, seed: int = 0) -> Metric:
    """Return the mean over the classes that occur among the labels of 2 TP / (2 TP + FP + FN), with a
    bootstrap over parts, each class apart."""
    if len(labels) != len(predicted):
        raise ValueError(f"{len(labels)} labels and {len(predicted)} answers differ in number")
    if not labels:
        return Metric(None, reason="no part was judged")
    truth, found = np.array(labels), np.array(predicted)
    classes = sorted(set(labels))

    def measure(weights: Array) -> Array:  # float64 (resamples, n) to (resamples,)
        scores = []
        for name in classes:
            hit = weights @ ((truth == name) & (found == name))
            scores.append(2 * hit / (weights @ (truth == name) + weights @ (found == name)))
        return np.asarray(np.mean(scores, 0))

    value = float(measure(np.ones((1, len(truth))))[0])
    interval = percentile_interval(measure(resampling_counts(truth, seed=seed)), value)
    low, high = (None, None) if interval is None else interval
    return Metric(value, low, high, len(labels))


def class_confusion(
    labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count, for each label, how often each class was the most likely."""
    table = {label: dict.fromkeys(classes, 0) for label in sorted(set(labels), key=_good_first)}
    for label, name in zip(labels, predicted, strict=True):
        table[label][name] += 1
    return table


def _resampled(
    probabilities: Sequence[float] | Array,
    is_bad: Sequence[bool] | Array,
    measure: Callable[[Array, Array, Array], float],
    *,
    seed: int,
) -> Metric:
    """Measure probabilities against what came, and again on bootstrap resamples."""
    values, truth = np.asarray(probabilities, np.float64), np.asarray(is_bad, np.float64)
    if values.shape != truth.shape:
        raise ValueError(f"{len(values)} probabilities and {len(truth)} labels differ in number")
    if not len(values):
        return Metric(None, reason="no part was judged")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("probabilities are 0 to 1")
    order = np.argsort(values, kind="stable")
    values, truth = values[order], truth[order]
    value = measure(values, truth, np.ones(len(values)))
    counts = resampling_counts(truth, seed=seed, resamples=_CALIBRATION_RESAMPLES)
    measured = np.array([measure(values, truth, row) for row in counts])
    interval = percentile_interval(measured, value) if len(values) > 1 else None
    low, high = (None, None) if interval is None else interval
    return Metric(value, low, high, len(values))


def _binned_gap(values: Array, truth: Array, weights: Array) -> float:
    """Return the mean distance between probability and share over bins of equal mass; `values` ascend."""
    middles = np.cumsum(weights) - weights / 2
    bins = np.minimum((middles / weights.sum() * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights * (values - truth), minlength=BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def confusion(labels: Sequence[str], verdicts: Sequence[Verdict | None]) -> dict[str, dict[str, int]]:
    """Count, for each label, how often each verdict was given (`OK`, `REVIEW`, `NG`, `not_judged`)."""
    if len(labels) != len(verdicts):
        raise ValueError(f"{len(labels)} labels and {len(verdicts)} verdicts differ in number")
    columns = [*(verdict.value for verdict in Verdict), NOT_JUDGED]
    table = {label: dict.fromkeys(columns, 0) for label in sorted(set(labels), key=_good_first)}
    for label, verdict in zip(labels, verdicts, strict=True):
        table[label][NOT_JUDGED if verdict is None else verdict.value] += 1
    return table


def _good_first(label: str) -> tuple[bool, str]:
    return label != "good", label
