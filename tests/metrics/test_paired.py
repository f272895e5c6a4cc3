"""The paired bootstrap against slow oracles, and what it says of models that are and are not different."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.metrics import paired, ranking
from flawscope.metrics.intervals import wilson
from flawscope.metrics.paired import Draws


def slow_auroc(scores: np.ndarray, is_bad: np.ndarray, counts: np.ndarray) -> float:
    """Return the AUROC of a resample by repeating every photograph as often as it was drawn."""
    repeated = np.repeat(np.arange(len(scores)), counts.astype(int))
    bad, good = repeated[is_bad[repeated]], repeated[~is_bad[repeated]]
    pairs = np.sign(scores[bad][:, None] - scores[good][None])
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


@pytest.fixture
def trial() -> tuple[np.ndarray, np.ndarray, Draws]:
    """Scores of two seeds with ties, labels, and shared resamples."""
    rng = np.random.default_rng(4)
    is_bad = np.arange(30) % 3 == 0
    scores = np.round(rng.normal(is_bad * 1.0, 1.0, (2, 30)), 1)
    return scores, is_bad, paired.draw([str(i) for i in range(30)], is_bad, 2, resamples=40)


def test_the_auroc_of_resamples_equals_the_slow_one(trial: tuple[np.ndarray, np.ndarray, Draws]) -> None:
    scores, is_bad, draws = trial
    found = paired.auroc(scores, is_bad, draws)
    assert found.value == pytest.approx(np.mean([ranking.auroc(row, is_bad).value for row in scores]))
    for resample in range(40):
        expected = [slow_auroc(row, is_bad, draws.photographs[resample]) for row in scores]
        assert found.resampled[resample] == pytest.approx(np.dot(expected, draws.seeds[resample]))


def test_a_share_of_resamples_equals_the_slow_one(trial: tuple[np.ndarray, np.ndarray, Draws]) -> None:
    scores, is_bad, draws = trial
    found = paired.share(scores > 0.5, is_bad, draws)
    assert found.value == pytest.approx((scores > 0.5)[:, is_bad].mean())
    for resample in range(40):
        counts = draws.photographs[resample] * is_bad
        expected = ((scores > 0.5) * counts).sum(1) / counts.sum()
        assert found.resampled[resample] == pytest.approx(np.dot(expected, draws.seeds[resample]))


def test_photographs_of_one_part_are_drawn_together_and_classes_keep_their_size() -> None:
    parts = [f"part{i // 2}" for i in range(20)]
    is_bad = np.arange(20) < 8
    draws = paired.draw(parts, is_bad, 3, resamples=50)
    assert np.array_equal(draws.photographs[:, ::2], draws.photographs[:, 1::2])
    assert (draws.photographs[:, is_bad].sum(1) == 8).all() and (draws.photographs.sum(1) == 20).all()
    assert np.allclose(draws.seeds.sum(1), 1) and draws.seeds.shape == (50, 3)


def test_a_difference_on_the_same_photographs_is_seen_where_intervals_overlap() -> None:
    rng = np.random.default_rng(0)
    is_bad = np.arange(120) % 2 == 0
    hard = rng.normal(0, 1.5, 120)  # what makes a photograph hard for every model
    better = (hard + is_bad * 2.2 + rng.normal(0, 0.1, 120))[None]
    worse = (hard + is_bad * 1.6 + rng.normal(0, 0.1, 120))[None]
    draws = paired.draw([str(i) for i in range(120)], is_bad, 1)
    first, second = (paired.auroc(one, is_bad, draws) for one in (better, worse))
    intervals = first.metric(), second.metric()
    assert intervals[0].low is not None and intervals[1].high is not None
    assert intervals[0].low < intervals[1].high  # alone they tell nothing
    apart = paired.difference(first, second)
    assert apart.value == pytest.approx(first.value - second.value)
    assert apart.low > 0 and apart.p < 0.01
    same = paired.difference(first, first)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_models_of_one_quality_are_rarely_called_different() -> None:
    rng = np.random.default_rng(1)
    is_bad = np.arange(80) % 2 == 0
    draws = paired.draw([str(i) for i in range(80)], is_bad, 1, resamples=400)
    claimed = 0
    for _ in range(60):
        hard = rng.normal(0, 1, 80) + is_bad
        one, other = (paired.auroc((hard + rng.normal(0, 0.5, 80))[None], is_bad, draws) for _ in range(2))
        claimed += paired.difference(one, other).p < 0.05
    assert claimed <= 8  # three are expected


def test_several_comparisons_share_the_risk() -> None:
    assert paired.holm([0.01, 0.04, 0.03]) == (True, False, False)
    assert paired.holm([0.01, 0.02, 0.03]) == (True, True, True)
    assert paired.holm([0.2]) == (False,) and paired.holm([]) == ()


def test_products_count_alike() -> None:
    draws = Draws(np.ones((3, 2)), np.ones((3, 1)), np.arange(2))
    is_bad = np.array([True, False])
    right = paired.auroc(np.array([[1.0, 0.0]]), is_bad, draws)
    wrong = paired.auroc(np.array([[0.0, 1.0]]), is_bad, draws)
    both = paired.average([right, wrong])
    assert both.value == 0.5 and both.resampled.tolist() == [0.5, 0.5, 0.5]


def test_where_no_resample_differs_the_open_end_is_wilsons() -> None:
    is_bad = np.arange(40) < 10
    draws = paired.draw([str(i) for i in range(40)], is_bad, 1)
    perfect = paired.auroc(is_bad[None].astype(float), is_bad, draws).metric()
    assert (perfect.value, perfect.high, perfect.n) == (1.0, 1.0, 40)
    assert perfect.low == pytest.approx(wilson(10, 10)[0])  # the smaller class has ten parts
    none = paired.share(np.zeros((1, 40), bool), ~is_bad, draws).metric()
    assert (none.value, none.low, none.n) == (0.0, 0.0, 30) and none.high == pytest.approx(wilson(0, 30)[1])
