"""AUROC, AP and recall at false alarms against scikit-learn and slow loops."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from flawscope.core.types import Array
from flawscope.metrics import intervals, ranking
from flawscope.metrics.ranking import auroc, average_precision, pr_curve, recall_at_false_alarms, roc_curve


def cases() -> list[tuple[Array, Array]]:
    """Scores with and without ties, many and few, even and uneven classes."""
    generator = np.random.default_rng(5)
    found = []
    for n, values, share in ((400, 10_000, 0.5), (60, 6, 0.3), (25, 3, 0.2), (300, 40, 0.05)):
        is_bad = np.arange(n) < max(1, int(share * n))
        scores = (generator.normal(size=n) * 1.2 + is_bad).round(2)
        found.append((np.round(scores * values / 10_000, 2) if values < 100 else scores, is_bad))
        found.append((generator.integers(0, values, n) + is_bad.astype(float), is_bad))
    return found


def check_auroc(module: ModuleType) -> None:
    for scores, is_bad in cases():
        assert module.auroc(scores, is_bad).value == pytest.approx(roc_auc_score(is_bad, scores))


def check_average_precision(module: ModuleType) -> None:
    for scores, is_bad in cases():
        expected = average_precision_score(is_bad, scores)
        assert module.average_precision(scores, is_bad).value == pytest.approx(expected)


def check_recall(module: ModuleType) -> None:
    for scores, is_bad in cases():
        for rate in (0.01, 0.05, 0.5):
            best = 0.0
            for limit in [-np.inf, *np.unique(scores)]:
                alarms, found = (scores[~is_bad] > limit).sum(), (scores[is_bad] > limit).sum()
                if alarms <= rate * (~is_bad).sum() + 1e-6:
                    best = max(best, found / is_bad.sum())
            assert module.recall_at_false_alarms(scores, is_bad, rate).value == pytest.approx(best)


def check_delong(module: ModuleType) -> None:
    """Against the definition by all pairs (DeLong et al. 1988)."""
    for scores, is_bad in cases()[:4]:
        bad, good = scores[is_bad], scores[~is_bad]
        area, low, high = module.delong(bad, good)
        pairs = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)
        variance = pairs.mean(1).var(ddof=1) / len(bad) + pairs.mean(0).var(ddof=1) / len(good)
        if area in (0, 1) or variance == 0:
            continue  # Wilson's interval, tested below
        logit = np.log(area / (1 - area))
        half = 1.959964 * np.sqrt(variance) / (area * (1 - area))
        assert (low, high) == pytest.approx([1 / (1 + np.exp(-logit + s * half)) for s in (1, -1)], rel=1e-5)


CHECKS = [
    (check_auroc, intervals, "(counts - 1) / 2.0", "(counts - 1)"),
    (check_average_precision, ranking, "(bad * precision)", "(bad * precision.round(2))"),
    (check_recall, ranking, "allowed = rate * good", "allowed = rate * bad"),
    (check_delong, intervals, "of_bad.var(ddof=1) / m", "of_bad.var(ddof=1) / n"),
]


@pytest.mark.parametrize(("check", "module", "old", "new"), CHECKS)
def test_against_the_oracle(check, module: ModuleType, old: str, new: str) -> None:
    check(intervals if check is check_delong else ranking)


@pytest.mark.parametrize(("check", "module", "old", "new"), CHECKS)
def test_the_oracle_fails_on_a_broken_copy(
    check,
    module: ModuleType,
    old: str,
    new: str,
    broken_copy: Callable[[ModuleType, str, str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = broken_copy(module, old, new)
    if check is check_auroc:
        monkeypatch.setattr(ranking, "delong", copy.delong)
        copy = ranking
    with pytest.raises(AssertionError):
        check(copy)


labelled = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({bad for _, bad in rows}) == 2
)


@given(labelled)
def test_a_monotone_map_of_the_scores_changes_nothing(rows: list[tuple[int, bool]]) -> None:
    scores, is_bad = np.array([s for s, _ in rows], float), np.array([bad for _, bad in rows])
    mapped = np.exp(scores / 2) - 7
    assert auroc(scores, is_bad) == auroc(mapped, is_bad)
    assert average_precision(scores, is_bad) == average_precision(mapped, is_bad)
    assert recall_at_false_alarms(scores, is_bad, 0.2) == recall_at_false_alarms(mapped, is_bad, 0.2)


@given(labelled)
def test_swapping_labels_mirrors_the_auroc(rows: list[tuple[int, bool]]) -> None:
    scores, is_bad = np.array([s for s, _ in rows], float), np.array([bad for _, bad in rows])
    first, mirrored, turned = auroc(scores, is_bad), auroc(scores, ~is_bad), auroc(-scores, ~is_bad)
    assert first.value == pytest.approx(1 - mirrored.value)
    assert (first.low, first.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))
    assert (first.low, first.value, first.high) == pytest.approx((turned.low, turned.value, turned.high))


@given(labelled)
def test_intervals_hold_their_value_and_stay_within_bounds(rows: list[tuple[int, bool]]) -> None:
    scores, is_bad = np.array([s for s, _ in rows], float), np.array([bad for _, bad in rows])
    for metric in (
        auroc(scores, is_bad),
        average_precision(scores, is_bad),
        recall_at_false_alarms(scores, is_bad, 0.05),
    ):
        assert metric.n == len(rows)
        assert 0 <= metric.low <= metric.value <= metric.high <= 1


def test_a_perfect_ranking_is_not_certain() -> None:
    scores, is_bad = np.arange(20.0), np.arange(20) >= 10
    for metric in (auroc(scores, is_bad), average_precision(scores, is_bad)):
        assert metric.value == metric.high == 1
        assert metric.low == pytest.approx(0.7225, abs=1e-3)  # Wilson's, 10 of 10


def test_the_auroc_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    truth = 0.856  # of normal scores 1.5 apart
    is_bad = np.arange(80) < 30
    hits = 0
    for _ in range(400):
        metric = auroc(generator.normal(size=80) + 1.5 * is_bad, is_bad)
        hits += metric.low <= truth <= metric.high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_bootstrap_equals_resampling_by_hand() -> None:
    generator = np.random.default_rng(1)
    is_bad = np.arange(120) < 40
    scores = generator.normal(size=120) + is_bad
    good, bad = scores[~is_bad], scores[is_bad]
    measured = [
        average_precision_score(
            is_bad, np.concatenate([generator.choice(bad, 40), generator.choice(good, 80)])
        )
        for _ in range(600)
    ]
    metric = average_precision(scores, is_bad)
    assert (metric.low, metric.high) == pytest.approx(np.quantile(measured, [0.025, 0.975]), abs=0.03)


def test_undefined_without_both_classes() -> None:
    for is_bad, word in ((np.zeros(3, bool), "no bad part"), (np.ones(3, bool), "no good part")):
        for metric in (auroc(np.arange(3.0), is_bad), average_precision(np.arange(3.0), is_bad)):
            assert metric.value is None and word in metric.reason
        assert roc_curve(np.arange(3.0), is_bad) == {"x": [], "y": []}
    with pytest.raises(ValueError, match="finite"):
        auroc(np.array([np.nan, 1.0]), np.array([True, False]))


def test_curves_are_thin_and_keep_their_area() -> None:
    generator = np.random.default_rng(2)
    is_bad = np.arange(5000) < 2000
    scores = generator.normal(size=5000) + 1.5 * is_bad
    roc, pr = roc_curve(scores, is_bad), pr_curve(scores, is_bad)
    for curve in (roc, pr):
        assert len(curve["x"]) == len(curve["y"]) <= 200
        assert curve["x"][0] == 0 and curve["x"][-1] == 1
    assert auc(roc["x"], roc["y"]) == pytest.approx(roc_auc_score(is_bad, scores), abs=2e-3)
    assert auc(pr["x"], pr["y"]) == pytest.approx(average_precision_score(is_bad, scores), abs=5e-3)


def check_paired_gain(module: ModuleType) -> None:
    generator = np.random.default_rng(8)
    for scores, is_bad in cases():
        other = scores + generator.normal(size=len(scores)) * 0.3
        measures: tuple[tuple[str, Callable[[Array], float]], ...] = (
            ("auroc", lambda values: float(roc_auc_score(is_bad, values))),  # noqa: B023  called at once
            ("ap", lambda values: float(average_precision_score(is_bad, values))),  # noqa: B023
        )
        for name, measure in measures:
            found = module.paired_gain(scores, other, is_bad, measure=name)
            assert found.value == pytest.approx(measure(other) - measure(scores))
            assert found.low <= found.value <= found.high


def test_the_gain_of_one_ranking_over_another(broken_copy: Callable[[ModuleType, str, str], ModuleType]):
    check_paired_gain(ranking)
    with pytest.raises(AssertionError):
        check_paired_gain(broken_copy(ranking, "+ good / 2", "+ good"))
    is_bad = np.arange(80) < 40
    generator = np.random.default_rng(1)
    worse, better = generator.normal(size=80) + is_bad, generator.normal(size=80) * 0.1 + is_bad
    assert ranking.paired_gain(worse, better, is_bad).low > 0
    same = ranking.paired_gain(worse, worse, is_bad, measure="recall")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert ranking.paired_gain(worse, better, np.ones(80, bool)).reason == "no good part among those judged"
