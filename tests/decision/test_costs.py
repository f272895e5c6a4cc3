"""Overkill and escape against slow counting; the cheapest limit against trying all; roles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawscope.core.errors import ConfigError, DataError, LeakError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Role, Sample, Verdict
from flawscope.decision.calibration import calibrate, promise, thresholds, verdict
from flawscope.decision.costs import choose_by_cost, overkill_escape_curve, with_choice

Row = tuple[int, bool, int]  # score, bad, part
rows = st.lists(
    st.tuples(st.integers(0, 10), st.booleans(), st.integers(0, 8)), min_size=2, max_size=30
).filter(lambda found: len({bad for _, bad, _ in found}) == 2)


def score_set(found: list[Row], *, role: Role = Role.SELECT) -> ScoreSet:
    samples = [
        Sample(id=str(i), path="x", label="dent" if bad else "good", part=f"{bad}{part}", role=role)
        for i, (_, bad, part) in enumerate(found)
    ]
    scores = [float(score) for score, _, _ in found]
    return ScoreSet.of(samples, scores, maxima=scores, role=role)


def slow_shares(found: list[Row], limit: float) -> tuple[float, float]:
    """Return overkill and escape, each part the mean over its photographs."""
    shares = []
    for kind in (False, True):
        parts: dict[int, list[bool]] = {}
        for score, bad, part in found:
            if bad == kind:
                parts.setdefault(part, []).append((score > limit) != kind)
        shares.append(float(np.mean([np.mean(wrong) for wrong in parts.values()])))
    return shares[0], shares[1]


@given(rows)
def test_the_curve_equals_counting(found: list[Row]) -> None:
    curve = overkill_escape_curve(score_set(found))
    for i, limit in enumerate(curve.limits):
        assert (curve.overkill[i], curve.escape[i]) == pytest.approx(slow_shares(found, limit))
    assert (np.diff(curve.overkill) <= 1e-9).all() and (np.diff(curve.escape) >= -1e-9).all()
    assert (curve.overkill[0], curve.escape[0]) == pytest.approx((1, 0))
    assert (curve.overkill[-1], curve.escape[-1]) == pytest.approx((0, 1))
    assert (curve.overkill_low <= curve.overkill + 1e-9).all()
    assert (curve.overkill_high >= curve.overkill - 1e-9).all()


@given(rows, st.floats(0.1, 100), st.floats(0.01, 0.9))
def test_no_limit_is_cheaper_than_the_chosen_one(found: list[Row], cost: float, bad_share: float) -> None:
    choice = choose_by_cost(score_set(found), cost_escape=cost, cost_overkill=1.0, bad_share=bad_share)

    def expected(limit: float) -> float:
        overkill, escape = slow_shares(found, limit)
        return cost * bad_share * escape + (1 - bad_share) * overkill

    assert choice.cost == pytest.approx(expected(choice.limit))
    assert choice.cost <= min(expected(limit) for limit in np.arange(-0.5, 11)) + 1e-9


def test_a_dearer_escape_never_raises_the_limit() -> None:
    generator = np.random.default_rng(0)
    found = score_set(
        [
            (int(10 * x) + 8 * bad, bool(bad), i)
            for i, (x, bad) in enumerate(zip(generator.normal(size=80), np.arange(80) < 30, strict=True))
        ]
    )
    limits = [
        choose_by_cost(found, cost_escape=cost, cost_overkill=1.0, bad_share=0.05).limit
        for cost in (0.1, 1, 10, 100, 1e6)
    ]
    assert limits == sorted(limits, reverse=True) and limits[0] > limits[-1]


def test_a_choice_moves_the_limit_and_ends_the_promise() -> None:
    good = score_set([(i, False, i) for i in range(40)], role=Role.CALIBRATE)
    found = score_set([(i, False, i) for i in range(10)] + [(i, True, i) for i in range(20, 30)])
    choice = choose_by_cost(found, cost_escape=50, cost_overkill=1)
    assert choice.limit == 14.5 and choice.overkill.value == choice.escape.value == 0
    assert choice.words.startswith("Estimate, no promise: 0 % of good parts (95 % interval 0 % to 27.8 %")
    moved = with_choice(calibrate(good), choice)
    assert thresholds(moved).ng == 14.5 and verdict(moved, 15.0) is Verdict.NG
    said = promise(moved)
    assert said.bound is None and "an escape 50, an overkill 1" in said.sentences[0]


def test_costs_come_from_select_only() -> None:
    found = [(1, False, 0), (2, True, 1)]
    for role in (Role.FIT, Role.CALIBRATE, Role.TEST):
        with pytest.raises(LeakError):
            choose_by_cost(score_set(found, role=role), cost_escape=1, cost_overkill=1)
    for role in (Role.FIT, Role.CALIBRATE):
        with pytest.raises(LeakError):
            overkill_escape_curve(score_set(found, role=role))
    assert overkill_escape_curve(score_set(found, role=Role.TEST)).to_json()["limits"]


def test_what_means_nothing_is_refused() -> None:
    found = score_set([(1, False, 0), (2, True, 1)])
    for costs in ((0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(ConfigError):
            choose_by_cost(found, cost_escape=costs[0], cost_overkill=costs[1])
    with pytest.raises(ConfigError):
        choose_by_cost(found, cost_escape=1, cost_overkill=1, bad_share=1.0)
    with pytest.raises(DataError, match="no bad one"):
        overkill_escape_curve(score_set([(1, False, 0)]))
