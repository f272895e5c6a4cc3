"""Ranks, limits, verdicts and promises: exact equivalence, ties, groups, wished rates on fresh parts."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from flawscope.core.errors import DataError, LeakError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Array, Calibration, CalibrationMode, Role, Sample, Thresholds, Verdict
from flawscope.decision.calibration import (
    beta_binomial_interval,
    calibrate,
    p_value,
    p_values,
    parts_needed,
    peak_p_value,
    promise,
    thresholds,
    verdict,
)


def score_set(
    scores: list[float] | Array,
    *,
    parts: list[str] | None = None,
    role: Role = Role.CALIBRATE,
    out_of_fold: bool = False,
) -> ScoreSet:
    parts = parts or [f"part {i}" for i in range(len(scores))]
    samples = [
        Sample(id=str(i), path=f"{i}.png", label="good", part=part, role=Role.FIT if out_of_fold else role)
        for i, part in enumerate(parts)
    ]
    return ScoreSet.of(
        samples, scores, maxima=np.asarray(scores) * 2, role=Role.CALIBRATE, out_of_fold=out_of_fold
    )


# Few distinct values, so that ties are common; few parts, so that groups are.
grouped = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=60)
rates = st.sampled_from([0.01, 0.05, 0.1, 0.15, 0.2, 1 / 3, 0.5, 2 / 3, 0.9])


@given(grouped, rates, rates, st.floats(-1, 10))
def test_a_score_above_the_limit_is_exactly_a_rank_at_most_alpha(
    images: list[tuple[int, int]], first: float, second: float, extra: float
) -> None:
    calibration = calibrate(
        score_set([float(score) for score, _ in images], parts=[str(part) for _, part in images]),
        alpha=min(first, second),
        review_alpha=max(first, second),
    )
    limits = thresholds(calibration)
    near = [np.nextafter(s, side) for s in range(-1, 10) for side in (-np.inf, np.inf)]
    for score in [*map(float, range(-1, 10)), *map(float, near), extra]:
        p = p_value(calibration, score)
        assert (limits.ng is not None and score > limits.ng) == (p <= calibration.alpha)
        if p <= calibration.review_alpha:
            assert limits.review is not None and score > limits.review
        if limits.ng is not None:
            assert (score > limits.review) == (p <= calibration.review_alpha)


@given(grouped, st.integers(-1, 9))
def test_p_values_equal_exact_fractions(images: list[tuple[int, int]], score: int) -> None:
    parts = [str(part) for _, part in images]
    calibration = calibrate(score_set([float(value) for value, _ in images], parts=parts))
    tail = sum(Fraction(1, parts.count(str(part))) for value, part in images if value >= score)
    exact = (1 + tail) / (len(set(parts)) + 1)
    assert p_value(calibration, float(score)) == pytest.approx(float(exact), rel=1e-12)


@given(st.integers(1, 400), rates)
def test_the_usable_ranks_follow_exact_arithmetic(n: int, alpha: float) -> None:
    """Floating point must not lose a rank, e.g. at alpha = .05 and n = 19."""
    calibration = calibrate(score_set(np.arange(n, dtype=float)), alpha=alpha, review_alpha=alpha)
    exact = math.floor(Fraction(alpha).limit_denominator(1000) * (n + 1))
    limits = thresholds(calibration)
    assert (limits.ng is None) == (exact == 0)
    if limits.ng is not None:
        assert limits.ng == n - exact
    assert (n >= parts_needed(alpha)) == (exact >= 1)


def test_ranks_by_hand() -> None:
    calibration = calibrate(score_set([1.0, 2.0, 3.0, 3.0]), alpha=0.2, review_alpha=0.6)
    assert p_values(calibration, np.array([[0.0, 1.5], [3.0, 3.5]])).tolist() == [[1.0, 0.8], [0.6, 0.2]]
    assert thresholds(calibration) == Thresholds(ng=3.0, review=2.0, pixel=6.0)
    words = [verdict(calibration, score) for score in (2.0, 2.5, 3.0, 3.1)]
    assert words == [Verdict.OK, Verdict.REVIEW, Verdict.REVIEW, Verdict.NG]


def test_photographs_of_one_part_share_its_weight() -> None:
    calibration = calibrate(score_set([1.0, 5.0, 5.0, 5.0], parts=["a", "b", "b", "b"]))
    assert calibration.parts == 2
    assert p_value(calibration, 4.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("n", [1, 4, 12, 18])
def test_with_too_few_parts_odder_than_all_is_review(n: int) -> None:
    calibration = calibrate(score_set(np.arange(n, dtype=float)))
    assert thresholds(calibration).ng is None
    assert verdict(calibration, n + 1000.0) is Verdict.REVIEW
    assert thresholds(calibration).pixel == 2.0 * (n - 1)
    said = promise(calibration)
    assert not said.can_say_ng and said.bound is None and said.parts_needed == 19
    assert f"{19 - n} more would allow it (19 needed)" in said.sentences[0]


def test_false_alarms_on_fresh_parts_keep_the_wish_and_the_interval() -> None:
    """Over calibrations the mean rate is k / (n + 1), and the counts lie in the beta-binomial interval."""
    generator = np.random.default_rng(7)
    n, alpha, m, runs = 59, 0.05, 200, 400
    low, high = beta_binomial_interval(n, alpha, m)
    counts = np.empty(runs)
    for run in range(runs):
        limits = thresholds(calibrate(score_set(generator.normal(size=n)), alpha=alpha))
        counts[run] = (generator.normal(size=m) > limits.ng).sum()
    assert counts.mean() / m == pytest.approx(0.05, abs=0.006)
    assert ((counts >= low) & (counts <= high)).mean() >= 0.93


def test_grouped_parts_keep_the_wish_where_counting_images_does_not() -> None:
    """Parts that differ more than their photographs: weights by part keep alpha on average."""
    generator = np.random.default_rng(3)
    weighted, counted = [], []
    for _ in range(400):
        sizes = np.where(generator.random(20) < 0.2, 20, 1)
        # A part that is odd is photographed once, the usual ones often: images alone understate oddness.
        centre = generator.normal(size=20) - (sizes > 1) * 2
        scores = np.repeat(centre, sizes) + generator.normal(scale=0.1, size=sizes.sum())
        parts = [str(i) for i in np.repeat(np.arange(20), sizes)]
        size = np.where(generator.random(200) < 0.2, 20, 1)
        fresh = generator.normal(size=200) - (size > 1) * 2
        for kind, keys in ((weighted, parts), (counted, None)):
            limit = thresholds(calibrate(score_set(scores, parts=keys), alpha=0.1)).ng
            assert limit is not None
            kind.append((fresh > limit).mean())
    assert np.mean(weighted) <= 0.105
    assert np.mean(counted) > 0.2


def test_the_promise_of_200_held_out_parts() -> None:
    said = promise(calibrate(score_set(np.arange(200.0))))
    assert said.bound == pytest.approx(beta(10, 191).ppf(0.95))
    assert said.sentences[0] == (
        "Promise: at most 5 % of good parts are called NG, on average over calibrations; this bundle stays "
        "below 7.7 % with 95 % confidence (200 parts held out)."
    )


def test_folds_are_an_estimate() -> None:
    calibration = calibrate(score_set(np.arange(60.0), out_of_fold=True))
    assert calibration.mode is CalibrationMode.FOLDS
    said = promise(calibration)
    assert said.bound is None
    assert said.sentences[0].startswith("Estimate: 5 % of good parts")
    assert "worst case is about 10 %" in said.sentences[1]
    assert not any(sentence.startswith("Promise") for sentence in said.sentences)


def test_moved_limits_replace_the_ranks_and_end_the_promise() -> None:
    calibration = calibrate(score_set(np.arange(100.0)))
    moved = dataclasses.replace(calibration, limit_ng=89.5, limit_reason="by hand")
    limits = thresholds(moved)
    assert limits.ng == 89.5 and limits.review == thresholds(calibration).review
    assert verdict(moved, 89.6) is Verdict.NG and verdict(moved, 89.5) is Verdict.REVIEW
    said = promise(moved)
    assert said.bound is None
    assert said.sentences[0].startswith("Estimate: 10 % of good parts are called NG (95 % interval 5.5 % to")
    below = dataclasses.replace(calibration, limit_ng=50.0)
    assert thresholds(below).review == 50.0
    assert all(not sentence.startswith("Promise") for sentence in promise(below).sentences)
    both = dataclasses.replace(moved, limit_review=40.0)
    assert thresholds(both).review == 40.0


def test_other_roles_and_bad_parts_are_refused() -> None:
    for role in (Role.FIT, Role.SELECT, Role.TEST):
        with pytest.raises(LeakError):
            score_set([1.0], role=role)
        given_role = ScoreSet(role, np.ones(1), np.ones(1), ("good",), ("a",), ("a",))
        with pytest.raises(LeakError):
            calibrate(given_role)
    with pytest.raises(DataError, match="scratch"):
        calibrate(ScoreSet(Role.CALIBRATE, np.ones(1), np.ones(1), ("scratch",), ("a",), ("a",)))
    with pytest.raises(DataError):
        calibrate(score_set([]))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_failed_score_gets_no_verdict(score: float) -> None:
    calibration = calibrate(score_set([1.0, 2.0]))
    with pytest.raises(ValueError):
        p_value(calibration, score)
    with pytest.raises(ValueError):
        verdict(calibration, score)


@given(grouped)
@settings(max_examples=20)
def test_a_calibration_survives_json(images: list[tuple[int, int]]) -> None:
    calibration = calibrate(score_set([s / 7 for s, _ in images], parts=[str(p) for _, p in images]))
    again = Calibration.from_json(calibration.to_json())
    assert thresholds(again) == thresholds(calibration)


def test_a_verdict_needs_no_scipy() -> None:
    code = (
        "import sys, numpy as np\n"
        "from flawscope.core.types import Calibration, CalibrationMode\n"
        "from flawscope.decision.calibration import p_value, verdict\n"
        "a = np.arange(20.0)\n"
        "c = Calibration(a, a, np.ones(20), 20, CalibrationMode.SPLIT)\n"
        "assert verdict(c, 30.0) == 'NG' and p_value(c, 30.0) == 1 / 21\n"
        "assert not {'scipy', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_peak_is_ranked_among_the_maxima_as_a_score_among_scores(rows: list[tuple[int, int, int]]):
    parts = [f"part {part}" for _, _, part in rows]
    samples = [
        Sample(id=str(i), path=f"{i}.png", label="good", part=part, role=Role.CALIBRATE)
        for i, part in enumerate(parts)
    ]
    scores, maxima = (np.array([row[place] for row in rows], float) for place in (0, 1))
    of_both = calibrate(ScoreSet.of(samples, scores, maxima=maxima, role=Role.CALIBRATE))
    of_maxima = calibrate(ScoreSet.of(samples, maxima, maxima=maxima, role=Role.CALIBRATE))
    for peak in (-1.0, 0.0, 4.0, 4.5, 9.0, 20.0):
        assert peak_p_value(of_both, peak) == pytest.approx(p_value(of_maxima, peak))
    with pytest.raises(ValueError, match="no rank"):
        peak_p_value(of_both, math.nan)
