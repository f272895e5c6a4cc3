"""Limits moved by hand: what they do to the good parts that calibrated and to parts that people have judged,
and what can still be promised there.

A limit that was placed by looking at the scores has no conformal promise any more. What holds wherever it is
put is the band of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (1990): with n good parts held out,
the true share of good parts above a limit is at most the measured one plus sqrt(ln(1 / (1 - confidence)) /
(2 n)), for all limits at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.errors import UsageError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import (
    Array,
    Calibration,
    CalibrationMode,
    Change,
    Json,
    Metric,
    Role,
    Thresholds,
    Verdict,
)
from flawscope.decision.calibration import percent, promise, thresholds, verdict
from flawscope.metrics.intervals import wilson

FEWEST_BAD = 5  # reviewed bad parts, below which nothing is said about what is missed
_BINS = 60


@dataclass(frozen=True)
class Place:
    """What two limits do, measured and promised."""

    ng: float | None
    review: float | None
    false_alarms: Metric  # good parts that calibrated, called NG
    not_ok: Metric  # the same parts, NG or REVIEW
    missed: Metric  # reviewed bad parts, called OK
    not_ng: Metric  # reviewed bad parts, OK or REVIEW
    reviewed_alarms: Metric  # reviewed good parts, called NG
    bound_ng: float | None  # of good parts at most so many are NG, with 95 % confidence; None: not promised
    bound_not_ok: float | None
    sentences: tuple[str, ...]  # what is promised or estimated, for people

    def to_json(self) -> Json:
        """Return everything as JSON."""
        values: Json = {"ng": self.ng, "review": self.review}
        for name in ("false_alarms", "not_ok", "missed", "not_ng", "reviewed_alarms"):
            values[name] = getattr(self, name).to_json()
        return values | {
            "bound_ng": self.bound_ng,
            "bound_not_ok": self.bound_not_ok,
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many parts lie between neighbouring edges: those that calibrated, reviewed good and bad ones."""

    edges: Array  # float64 (k + 1,), rising
    calibrate: Array  # float64 (k,): photographs of one part share its weight of one
    reviewed_good: Array
    reviewed_bad: Array

    def to_json(self) -> dict[str, list[float]]:
        """Return edges and counts."""
        return {field.name: getattr(self, field.name).tolist() for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class Turned:
    """A part whose verdict another pair of limits changes."""

    sample_id: str
    label: str | None
    score: float
    before: Verdict
    after: Verdict

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {
            "id": self.sample_id,
            "label": self.label,
            "score": self.score,
            "before": self.before.value,
            "after": self.after.value,
        }


def band(calibration: Calibration, *, confidence: float = 0.95) -> float | None:
    """Return by how much the true share of good parts above any limit may exceed the measured one; None where
    nothing is promised: by folds, with several photographs of a part, or where parts were taught since."""
    several = len(calibration.scores) != calibration.parts
    if calibration.mode is CalibrationMode.FOLDS or several or calibration.taught_since:
        return None
    return math.sqrt(math.log(1 / (1 - confidence)) / (2 * calibration.parts))


def placed(calibration: Calibration, *, ng: float | None, review: float | None) -> Thresholds:
    """Return the limits where NG and REVIEW are put there; None leaves one where the calibration has it.

    Raises UsageError for a limit that is no number, and for an NG limit below the REVIEW limit.
    """
    now = thresholds(calibration)
    for name, value in (("NG", ng), ("REVIEW", review)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"The {name} limit is no number", found=str(value))
    new_ng, new_review = now.ng if ng is None else ng, now.review if review is None else review
    if ng is not None and review is None and new_review is not None:
        new_review = min(new_review, ng)
    if new_ng is not None and new_review is not None and new_review > new_ng:
        raise UsageError(
            "The REVIEW limit lies above the NG limit",
            expected=f"at most {new_ng:.6g}",
            found=f"{new_review:.6g}",
            remedy="Move the NG limit up as well, or REVIEW down",
        )
    return Thresholds(new_ng, new_review, now.pixel)


def place(calibration: Calibration, limits: Thresholds, reviewed: ScoreSet | None = None) -> Place:
    """Say what limits do: measured on the parts that calibrated and on parts that people have judged since,
    which must not have been taught. Raises LeakError for reviewed parts of another role than SELECT: TEST
    stays out of every choice."""
    if reviewed is not None:
        reviewed.require(Role.SELECT, use="A limit moved by hand")
    weights, scores = calibration.weights, calibration.scores
    highest = math.inf if limits.ng is None else limits.ng
    lowest = highest if limits.review is None else limits.review
    alarms = _share(weights[scores > highest].sum(), calibration.parts)
    not_ok = _share(weights[scores > lowest].sum(), calibration.parts)
    extra = band(calibration)
    bounds = [
        None if extra is None or found.value is None else min(1.0, found.value + extra)
        for found in (alarms, not_ok)
    ]
    return Place(
        ng=limits.ng,
        review=limits.review,
        false_alarms=alarms,
        not_ok=not_ok,
        missed=_reviewed(reviewed, lowest, bad=True),
        not_ng=_reviewed(reviewed, highest, bad=True),
        reviewed_alarms=_reviewed(reviewed, highest, bad=False),
        bound_ng=bounds[0],
        bound_not_ok=bounds[1],
        sentences=_sentences(calibration, limits, alarms, bounds),
    )


def histogram(calibration: Calibration, reviewed: ScoreSet | None = None, *, bins: int = _BINS) -> Histogram:
    """Return the counts to draw, over bins of equal width that hold every score."""
    every = [calibration.scores] + ([] if reviewed is None else [reviewed.scores])
    together = np.concatenate(every)
    low, high = float(together.min()), float(together.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    nobody = np.zeros(bins)
    good, bad = nobody, nobody
    if reviewed is not None:
        good, bad = (
            np.histogram(reviewed.scores[members], edges, weights=reviewed.weights[members])[0]
            for members in (reviewed.is_good, reviewed.is_bad)
        )
    return Histogram(
        edges, np.histogram(calibration.scores, edges, weights=calibration.weights)[0], good, bad
    )


def draggable(calibration: Calibration, reviewed: ScoreSet | None = None) -> Json:
    """Return all that a page needs to show shares at any place while limits are dragged, and the steps of its
    arrow keys: every calibration score with its weight, every reviewed part, and the band of `band`."""
    judged = (
        []
        if reviewed is None
        else [
            {"id": sample_id, "score": score, "label": label, "weight": weight}
            for sample_id, score, label, weight in zip(
                reviewed.sample_ids,
                reviewed.scores.tolist(),
                reviewed.labels,
                reviewed.weights.tolist(),
                strict=True,
            )
        ]
    )
    return {
        "scores": calibration.scores.tolist(),
        "weights": calibration.weights.tolist(),
        "parts": calibration.parts,
        "band": band(calibration),
        "reviewed": judged,
        "fewest_bad": FEWEST_BAD,
        "limits": thresholds(calibration).to_json(),
        "version": calibration.version,
    }


def turned(before: Thresholds, after: Thresholds, scored: ScoreSet) -> tuple[Turned, ...]:
    """Return the parts that change sides, the highest score first."""
    found = []
    for sample_id, label, score in zip(scored.sample_ids, scored.labels, scored.scores.tolist(), strict=True):
        first, second = verdict(before, score), verdict(after, score)
        if first is not second:
            found.append(Turned(sample_id, label, score, first, second))
    return tuple(sorted(found, key=lambda one: -one.score))


def with_limits(calibration: Calibration, limits: Thresholds, change: Change) -> Calibration:
    """Return the calibration with both limits put there by `change`; what stays where the ranks have it stays
    with the ranks and their promise."""
    now = thresholds(calibration)
    return dataclasses.replace(
        calibration,
        limit_ng=calibration.limit_ng if limits.ng == now.ng else limits.ng,
        limit_review=calibration.limit_review if limits.review == now.review else limits.review,
        limit_reason=f"{change.how}, {change.who}: {change.why}",
        change=change,
    )


def with_rates(calibration: Calibration, *, alpha: float, review_alpha: float, change: Change) -> Calibration:
    """Return the calibration with other wished rates, its limits by rank again. Raises UsageError for rates
    that do not fit each other."""
    if not 0 < alpha <= review_alpha < 1:
        raise UsageError(
            "These rates do not fit",
            expected="0 < alpha <= review_alpha < 1",
            found=f"alpha {alpha:g}, review_alpha {review_alpha:g}",
        )
    return dataclasses.replace(
        calibration,
        alpha=alpha,
        review_alpha=review_alpha,
        limit_ng=None,
        limit_review=None,
        limit_reason="",
        change=change,
    )


def _share(count: float, n: int) -> Metric:
    value = min(1.0, float(count) / n)
    return Metric(value, *wilson(value * n, n), n)


def _reviewed(reviewed: ScoreSet | None, limit: float, *, bad: bool) -> Metric:
    """Return the share of reviewed bad parts that are not above a limit, or of good ones that are."""
    if reviewed is None:
        return Metric(None, reason="no reviewed parts")
    members = reviewed.is_bad if bad else reviewed.is_good
    keys = [key for key, member in zip(reviewed.part_keys, members, strict=True) if member]
    n = len(set(keys))
    word = "bad" if bad else "good"
    if n < FEWEST_BAD:
        return Metric(None, n=n, reason=f"{n} {word} {'part' if n == 1 else 'parts'} reviewed")
    counts = {key: keys.count(key) for key in set(keys)}
    weights = np.array([1 / counts[key] for key in keys])
    above = reviewed.scores[members] > limit
    return _share(weights[~above if bad else above].sum(), n)


def _sentences(
    calibration: Calibration, limits: Thresholds, alarms: Metric, bounds: Sequence[float | None]
) -> tuple[str, ...]:
    now = thresholds(calibration)
    moved = calibration.limit_ng is not None or calibration.limit_review is not None
    if not moved and (limits.ng, limits.review) == (now.ng, now.review):
        return promise(calibration).sentences
    if limits.ng is None:
        return (f"No part can be called NG: {promise(calibration).sentences[0]}",)
    assert alarms.value is not None and alarms.low is not None and alarms.high is not None
    measured = (
        f"Estimate: {percent(alarms.value)} of good parts are called NG (95 % interval {percent(alarms.low)} "
        f"to {percent(alarms.high)}, {calibration.parts} parts)."
    )
    if bounds[0] is None or bounds[1] is None:
        return (measured, "Nothing is promised at this place.")
    return (
        measured,
        f"Promise, wherever the limits are put: with 95 % confidence at most {percent(bounds[0])} of good "
        f"parts are NG and at most {percent(bounds[1])} are not OK, if they are like those that calibrated.",
    )
