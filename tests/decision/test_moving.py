"""Limits moved by hand: what they do, what is promised wherever they are put, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flawscope.core.errors import LeakError, UsageError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Calibration, Change, Role, Sample, Verdict
from flawscope.decision.calibration import calibrate, promise, thresholds
from flawscope.decision.moving import (
    band,
    draggable,
    histogram,
    place,
    placed,
    turned,
    with_limits,
    with_rates,
)

CHANGE = Change(2, "Kim", "coarser grain", "2026-01-02T03:04:05+00:00", "by hand")


def scored(
    good: list[float], bad: list[float] = (), *, role: Role = Role.SELECT, per_part: int = 1
) -> ScoreSet:
    samples = [
        Sample(f"{label}{i}", "x", label, part=f"{label}{i // per_part}", role=role)
        for label, values in (("good", good), ("dent", bad))
        for i in range(len(values))
    ]
    values = [*good, *bad]
    return ScoreSet.of(samples, values, maxima=values, role=role)


def calibration(n: int = 100, *, seed: int = 0, per_part: int = 1) -> Calibration:
    values = np.sort(np.random.default_rng(seed).gamma(4, 0.2, n)).tolist()
    return calibrate(scored(values, role=Role.CALIBRATE, per_part=per_part))


def test_a_place_is_counted_on_calibration_and_reviewed_parts() -> None:
    known = calibration()
    limits = placed(known, ng=float(known.scores[89]), review=float(known.scores[79]))
    found = place(known, limits, scored([0.1, 0.2, 0.3, 0.4, 9.0], [0.1, 9.0, 9.0, 9.0, 9.0]))
    assert (found.false_alarms.value, found.not_ok.value) == pytest.approx((0.1, 0.2))
    assert (found.missed.value, found.not_ng.value, found.reviewed_alarms.value) == pytest.approx((0.2,) * 3)
    assert found.bound_ng == pytest.approx(0.1 + math.sqrt(math.log(20) / 200))
    assert "wherever the limits are put" in found.sentences[1]
    few = place(known, limits, scored([0.1], [9.0, 9.0]))
    assert few.missed.value is None and few.missed.reason == "2 bad parts reviewed"
    assert place(known, thresholds(known)).sentences == promise(known).sentences


def test_the_band_holds_at_every_limit_at_once() -> None:
    """Limits put where the calibration looks best: the true rate stays within the bound in 95 % of draws."""
    generator = np.random.default_rng(1)
    broken = 0
    for _ in range(400):
        good = np.sort(generator.uniform(size=50))
        above = np.arange(49, -1, -1) / 50
        broken += bool(((1 - good) - above > math.sqrt(math.log(20) / 100)).any())  # the worst place of all
    assert broken / 400 < 0.08
    assert band(calibrate(scored(np.sort(good).tolist(), role=Role.CALIBRATE))) is not None
    assert band(calibration(100, per_part=2)) is None


def test_limits_that_fit_nothing_are_refused() -> None:
    known = calibration()
    for ng, review in ((float("nan"), None), (0.5, 0.6)):
        with pytest.raises(UsageError):
            placed(known, ng=ng, review=review)
    low = float(known.scores[10])
    assert placed(known, ng=low, review=None).review == low  # REVIEW never lies above NG
    with pytest.raises(UsageError):
        with_rates(known, alpha=0.2, review_alpha=0.1, change=CHANGE)
    for role in (Role.TEST, Role.CALIBRATE, Role.FIT):
        with pytest.raises(LeakError):
            place(known, thresholds(known), scored([1.0], [2.0], role=role))


def test_moved_limits_travel_with_who_and_why() -> None:
    known = calibration()
    moved = with_limits(known, placed(known, ng=1.5, review=None), CHANGE)
    again = Calibration.from_json(moved.to_json())
    assert again.change == CHANGE and again.version == 2 and again.limit_ng == 1.5
    assert again.limit_review is None  # where the ranks have it, it stays with them
    assert "by hand, Kim: coarser grain" in promise(again).sentences[0]
    back = with_rates(again, alpha=0.1, review_alpha=0.2, change=CHANGE)
    assert back.limit_ng is None and promise(back).bound is not None
    assert "change" not in known.to_json() and known.version == 1


def test_parts_that_change_sides_are_named() -> None:
    known = calibration()
    found = turned(thresholds(known), placed(known, ng=9.0, review=None), scored([0.1], [5.0, 10.0]))
    assert [(one.sample_id, one.before, one.after) for one in found] == [
        ("dent0", Verdict.NG, Verdict.REVIEW)
    ]


def test_what_a_page_draws() -> None:
    known = calibration(100, per_part=2)
    reviewed = scored([0.1, 0.2], [30.0])
    bars = histogram(known, reviewed, bins=10)
    assert bars.calibrate.sum() == pytest.approx(50) and bars.reviewed_bad[-1] == 1
    assert len(bars.edges) == 11 and bars.to_json().keys() == {
        "edges", "calibrate", "reviewed_good", "reviewed_bad",
    }  # fmt: skip
    live = draggable(known, reviewed)
    assert sum(live["weights"]) == pytest.approx(50) and live["version"] == 1
    assert [one["label"] for one in live["reviewed"]] == ["good", "good", "dent"]


def test_parts_taught_since_end_the_promise() -> None:
    import dataclasses

    since = dataclasses.replace(calibration(), taught_since=3)
    said = promise(since)
    assert said.bound is None and any("3 photographs were taught after" in one for one in said.sentences)
    assert Calibration.from_json(since.to_json()).taught_since == 3 and band(since) is None
