"""Bands of risk: what the calibration keeps, and what defects change."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.core.types import Calibration, CalibrationMode, Verdict
from flawscope.decision.bands import Band, RiskLimits, risk_limits, sure_by_score
from flawscope.decision.calibration import thresholds, verdict


def calibration(n: int, *, seed: int = 0, classes: bool = False) -> Calibration:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(-3 if classes else 5, 1, n))
    maxima = np.exp(0.3 * scores) + rng.exponential(0.5, n)
    return Calibration(scores, maxima, np.ones(n), n, CalibrationMode.SPLIT)


def test_log_odds_become_probabilities_and_ranks_become_shares_of_good_parts() -> None:
    known = calibration(99)
    assert sure_by_score(np.array([0.0, np.log(3), -800]), known, classes=True).tolist() == pytest.approx(
        [0.5, 0.75, 0]
    )
    above, below = known.scores[-1] + 1, known.scores[0] - 1
    assert sure_by_score(np.array([above, below]), known, classes=False).tolist() == pytest.approx([0.99, 0])


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("n", [40, 99, 300])
def test_so_many_calm_good_parts_stay_below_the_limits_as_ranks_say(n: int, classes: bool) -> None:
    known = calibration(n, seed=n, classes=classes)
    limits = risk_limits(known, classes=classes)
    risks = 40 * sure_by_score(known.scores, known, classes=classes)
    risks[known.maxima > thresholds(known).pixel] = 100
    above = np.array([limits.band(risk) for risk in risks])
    urgent = np.isin(above, [Band.HIGH, Band.CRITICAL]).sum()
    assert (1 + urgent) / (n + 1) <= 0.05 + 1 / (n + 1) and (above != Band.LOW).sum() <= 0.15 * (n + 1)
    assert limits.medium <= limits.high < limits.critical < 100
    assert "5 %" in limits.rule and "halfway" in limits.rule


def test_without_odd_places_bands_are_the_verdicts() -> None:
    known = calibration(99)
    calm = Calibration(known.scores, np.ones(99), np.ones(99), 99, CalibrationMode.SPLIT)
    limits, decided = risk_limits(calm, classes=False), thresholds(calm)
    expected = {Verdict.OK: Band.LOW, Verdict.REVIEW: Band.MEDIUM, Verdict.NG: Band.HIGH}
    for score in np.linspace(2, 9, 60):
        sure = float(sure_by_score(np.array([score]), calm, classes=False)[0])
        assert limits.band(40 * sure) is expected[verdict(decided, float(score))]


def test_eight_defects_set_where_critical_begins() -> None:
    known = calibration(99)
    by_rule = risk_limits(known, classes=False)
    assert risk_limits(known, classes=False, defects=[60.0] * 7) == by_rule
    taught = risk_limits(known, classes=False, defects=[50, 60, 70, 80, 62, 64, 90, 95])
    assert taught.critical == 67 and "8 labelled defects" in taught.rule
    hidden = risk_limits(known, classes=False, defects=[1.0] * 8)  # not above the good: they say nothing
    assert hidden.critical == by_rule.critical and "halfway" in hidden.rule


def test_too_few_parts_for_ranks_say_so() -> None:
    known = calibration(6)
    limits = risk_limits(known, classes=False)
    highest = 40 * sure_by_score(known.scores, known, classes=False).max()
    assert limits.high == pytest.approx(highest) and "too few for ranks" in limits.rule


def test_limits_come_back_from_json_and_must_rise() -> None:
    limits = risk_limits(calibration(99), classes=False)
    assert RiskLimits.from_json(limits.to_json()) == limits
    with pytest.raises(ValueError, match="must rise"):
        RiskLimits(30, 20, 50)
    assert [limits.band(limits.medium), limits.band(limits.critical + 1e-9)] == [Band.LOW, Band.CRITICAL]
