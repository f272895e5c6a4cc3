"""The watch for drift: uniform ranks, few false alarms, defects told apart, state that survives."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flawscope.core.errors import DataError
from flawscope.core.rng import derive
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Calibration, Role, Sample
from flawscope.decision.calibration import calibrate
from flawscope.decision.drift import LOOKS, Watch, densities, unlike
from flawscope.decision.drift_words import KINDS

LIGHT = {"light": 0.02}


def calibration(n: int = 60, *, seed: int = 0, folds: bool = False) -> Calibration:
    scores = derive(seed, "cal").gamma(4, 0.2, n)
    samples = [Sample(str(i), "x", "good") for i in range(n)]
    scored = ScoreSet.of(samples, scores, maxima=scores, role=Role.CALIBRATE, out_of_fold=folds)
    return calibrate(scored)


def looks(seed: int = 0, n: int = 60) -> dict[str, np.ndarray]:
    rng = derive(seed, "looks")
    return {"light": rng.normal(0, 0.02, n), "agreement": rng.normal(0.98, 0.005, n)}


def run(watch: Watch, parts: int, *, seed: int, score: float = 1.0, light: float = 0.0) -> None:
    rng = derive(seed, "stream")
    for _ in range(parts):
        watch.add(
            float(rng.gamma(4, 0.2)) * score,
            {"light": float(rng.normal(light, 0.02)), "agreement": float(rng.normal(0.98, 0.005))},
        )


def test_what_is_bet_on_are_densities() -> None:
    ranks = (np.arange(20_000) + 0.5) / 20_000
    means = np.mean([densities(float(rank)) for rank in ranks], axis=0)
    np.testing.assert_allclose(means, 1.0, atol=0.06)  # the pile-ups are steep at the ends
    assert all(np.isfinite(densities(rank)).all() for rank in (0.0, 1.0))


def test_unchanged_parts_raise_nothing() -> None:
    for seed in range(3):
        watch = Watch.of(calibration(seed=seed), looks(seed), seed=seed)
        run(watch, 800, seed=seed)
        assert watch.alarms == [] and watch.sentence() == "No change in 800 parts."


def test_a_burst_of_defects_is_no_drift() -> None:
    watch = Watch.of(calibration(), looks())
    run(watch, 200, seed=1)
    run(watch, 100, seed=2, score=4.0)
    assert [alarm.kind for alarm in watch.alarms] == ["odd"]
    assert not watch.alarms[0].is_drift
    assert "too few ordinary ones" in watch.sentence()
    run(watch, 40, seed=3)
    assert watch.sentence().endswith("defects, not drift.")


def test_light_is_named_and_ends() -> None:
    watch = Watch.of(calibration(), looks())
    run(watch, 150, seed=1)
    run(watch, 60, seed=2, light=-0.2, score=3.0)
    first = watch.alarms[0]
    assert first.kind == "light" and abs(first.since - 151) <= 5
    assert watch.sentence().startswith("Light 1") and "darker" in watch.sentence()
    assert "scores have moved with it" in watch.sentence()
    run(watch, 500, seed=3)
    assert not watch.open_alarms() and watch.sentence() == "No change in 710 parts."
    run(watch, 60, seed=4, light=-0.2)
    assert [alarm.kind for alarm in watch.alarms].count("light") == 2  # another change, another alarm


def test_a_change_that_is_too_small_to_matter_is_none() -> None:
    quiet = {"light": np.random.default_rng(0).normal(0, 0.001, 60)}
    watch = Watch.of(calibration(), quiet)
    rng = np.random.default_rng(1)
    for _ in range(300):
        watch.add(None, {"light": float(rng.normal(0.01, 0.001))})  # 1 % brighter, ten deviations
    assert watch.alarms == []
    for _ in range(100):
        watch.add(None, {"light": float(rng.normal(0.05, 0.001))})
    assert [alarm.kind for alarm in watch.alarms] == ["light"]


def test_ordinary_parts_that_look_otherwise_are_drift() -> None:
    watch = Watch.of(calibration(200), {})
    run(watch, 300, seed=1)
    run(watch, 1800, seed=2, score=1.6)
    assert "score" in [alarm.kind for alarm in watch.alarms]
    assert "Ordinary parts look more odd than before" in watch.sentence()


def test_an_accepted_change_is_usual_from_then_on() -> None:
    watch = Watch.of(calibration(), looks())
    run(watch, 60, seed=2, light=-0.2)
    assert watch.open_alarms()
    watch.accept("light")
    run(watch, 400, seed=3, light=-0.2)
    assert not watch.open_alarms() and len(watch.alarms) == 1
    for name in ("odd", "nothing"):
        with pytest.raises(DataError):
            watch.accept(name)


def test_folds_learn_the_score_from_the_first_parts() -> None:
    watch = Watch.of(calibration(folds=True), {})
    run(watch, 50, seed=1, score=0.7)
    assert "more ordinary parts are needed" in watch.sentence()
    run(watch, 500, seed=2, score=0.7)  # the bundle's own model gives other scores than the folds'
    assert watch.alarms == []


def test_the_state_goes_through_json() -> None:
    whole = Watch.of(calibration(), looks())
    halves = Watch.of(calibration(), looks())
    for watch in (whole, halves):
        run(watch, 90, seed=1)
    halves = Watch.from_json(json.loads(json.dumps(halves.to_json())))
    for watch in (whole, halves):
        run(watch, 60, seed=2, light=-0.2)
    assert halves.to_json() == json.loads(json.dumps(whole.to_json())) and halves.alarms
    assert len(json.dumps(whole.to_json())) < 60_000
    with pytest.raises(DataError):
        Watch.from_json({"version": 99})
    with pytest.raises(DataError):
        Watch.from_json(whole.to_json() | {"charts": [{"name": "score"}]})


def test_single_photographs_unlike_the_calibration() -> None:
    usual = looks()
    found = unlike({"light": -0.5, "agreement": 0.6}, usual)
    assert [effect.kind for effect in found] == ["light", "layout"]
    assert unlike({"light": 0.03, "agreement": 0.999, "red": 5.0}, usual) == ()
    assert set(LOOKS) < set(KINDS)


def test_what_is_not_finite_is_passed_over() -> None:
    watch = Watch.of(calibration(), looks())
    watch.add(float("nan"), {"light": float("nan")})
    watch.add(None, None)
    assert watch.parts == 2 and watch.effects() == ()
