"""Verdict metrics against scikit-learn, identities, intervals, latency and the names of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

from flawscope.core.errors import LeakError
from flawscope.core.scores import ScoreSet
from flawscope.core.types import Role, Verdict
from flawscope.metrics import classification, intervals
from flawscope.metrics.classification import VerdictCounts
from flawscope.metrics.intervals import wilson
from flawscope.metrics.latency import percentiles
from flawscope.metrics.summary import (
    class_metrics,
    confusion,
    image_metrics,
    per_defect,
    pixel_metrics,
    probability_metrics,
    report_image_metrics,
    verdict_metrics,
)

judgements = st.lists(st.tuples(st.sampled_from([*Verdict, None]), st.booleans()), min_size=1, max_size=60)
GENERATOR = np.random.default_rng(0)
VERDICTS = [list(Verdict)[i] for i in GENERATOR.choice(3, 200, p=[0.5, 0.2, 0.3])]
IS_BAD = GENERATOR.random(200) < 0.3


def check_against_scikit_learn(module: ModuleType) -> None:
    counts = module.VerdictCounts.of(VERDICTS, IS_BAD)
    called = np.array([verdict is Verdict.NG for verdict in VERDICTS])
    assert module.accuracy(counts).value == pytest.approx(accuracy_score(IS_BAD, called))
    assert module.precision(counts).value == pytest.approx(precision_score(IS_BAD, called))
    assert module.recall(counts).value == pytest.approx(recall_score(IS_BAD, called))
    assert module.specificity(counts).value == pytest.approx(recall_score(~IS_BAD, ~called))
    assert module.f1(counts).value == pytest.approx(f1_score(IS_BAD, called))
    assert module.overkill(counts).value == pytest.approx(called[~IS_BAD].mean())
    passed = np.array([verdict is Verdict.OK for verdict in VERDICTS])
    assert module.escape(counts).value == pytest.approx(passed[IS_BAD].mean())


def check_wilson(module: ModuleType) -> None:
    for successes, n in ((0, 5), (1, 5), (5, 5), (17, 200), (120, 120)):
        expected = binomtest(successes, n).proportion_ci(method="wilson")
        assert module.wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_against_the_oracles() -> None:
    check_against_scikit_learn(classification)
    check_wilson(intervals)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("right = counts.good_ok + counts.good_review", "right = counts.good_ok"),
        ("counts.bad_ng + counts.good_ng, reason", "counts.bad_ng + counts.good_ok, reason"),
        ("share(counts.bad_ng, counts.bad,", "share(counts.bad_ng, counts.bad_ng + counts.bad_ok,"),
        ("share(counts.good_ok + counts.good_review,", "share(counts.good_ok,"),
        ("(counts.bad + counts.bad_ng + counts.good_ng)", "(counts.bad + counts.good + counts.bad_ng)"),
        ("share(counts.good_ng,", "share(counts.good_ng + counts.good_review,"),
        ("share(counts.bad_ok,", "share(counts.bad_ok + counts.bad_review,"),
    ],
)
def test_the_oracle_fails_on_a_broken_copy(
    old: str, new: str, broken_copy: Callable[[ModuleType, str, str], ModuleType]
) -> None:
    with pytest.raises(AssertionError):
        check_against_scikit_learn(broken_copy(classification, old, new))


def test_the_oracle_of_wilson_fails_on_a_broken_copy(
    broken_copy: Callable[[ModuleType, str, str], ModuleType],
) -> None:
    with pytest.raises(AssertionError):
        check_wilson(broken_copy(intervals, "z * z / (4 * n * n)", "z * z / (2 * n * n)"))


@given(judgements)
def test_identities(rows: list[tuple[Verdict | None, bool]]) -> None:
    verdicts, is_bad = [verdict for verdict, _ in rows], [bad for _, bad in rows]
    metrics = verdict_metrics(verdicts, is_bad)
    counts = VerdictCounts.of(verdicts, is_bad)
    if counts.good:
        assert metrics["specificity"].value == pytest.approx(1 - metrics["overkill"].value)
        assert metrics["overkill"].n == counts.good
    if counts.bad:
        review = counts.bad_review / counts.bad
        assert metrics["recall"].value + metrics["escape"].value + review == pytest.approx(1)
    for metric in metrics.values():
        assert (metric.value is None) == bool(metric.reason)
        if metric.value is not None:
            assert 0 <= metric.low <= metric.value <= metric.high <= 1


def test_a_bad_part_that_was_not_judged_is_no_escape_and_no_catch() -> None:
    metrics = verdict_metrics([None, Verdict.NG, Verdict.OK], [True, True, False])
    assert metrics["escape"].value == 0 and metrics["recall"].value == 1 and metrics["recall"].n == 1
    assert metrics["not_judged_share"].value == pytest.approx(1 / 3)


def test_the_f1_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(2)
    truth = 2 * 0.8 * 50 / (50 + 0.8 * 50 + 0.1 * 100)
    hits = 0
    for _ in range(150):
        found, alarms = int(generator.binomial(50, 0.8)), int(generator.binomial(100, 0.1))
        metric = classification.f1(VerdictCounts(100 - alarms, 0, alarms, 50 - found, 0, found, 0))
        hits += metric.low <= truth <= metric.high
    assert hits / 150 >= 0.88


def test_confusion_counts_every_part() -> None:
    table = confusion(["good", "scratch", "good", "crack"], [Verdict.OK, Verdict.NG, None, Verdict.REVIEW])
    assert list(table) == ["good", "crack", "scratch"]
    assert table["good"] == {"OK": 1, "REVIEW": 0, "NG": 0, "not_judged": 1}
    assert table["scratch"]["NG"] == table["crack"]["REVIEW"] == 1


def test_per_defect_ranks_each_defect_against_all_good_parts() -> None:
    labels = ["good", "good", "scratch", "scratch", "crack", "crack"]
    verdicts = [Verdict.OK, Verdict.REVIEW, Verdict.NG, Verdict.OK, Verdict.NG, None]
    groups = per_defect(labels, verdicts, [0.0, 1.0, 5.0, 0.5, 4.0, None])
    assert list(groups) == ["crack", "scratch"]
    assert groups["scratch"]["auroc"].value == 0.75 and groups["scratch"]["escape"].value == 0.5
    assert groups["crack"]["auroc"].value == 1 and groups["crack"]["recall"].n == 1


def test_a_report_takes_test_scores_only() -> None:
    arrays = (
        np.array([0.0, 1.0, 9.0]),
        np.zeros(3),
        ("good", "scratch", None),
        ("a", "b", "c"),
        ("a", "b", "c"),
    )
    for role in (Role.FIT, Role.SELECT, Role.CALIBRATE):
        with pytest.raises(LeakError):
            report_image_metrics(ScoreSet(role, *arrays))
    metrics = report_image_metrics(ScoreSet(Role.TEST, *arrays))
    assert metrics == image_metrics([0.0, 1.0], [False, True])
    assert metrics["auroc"].n == 2 and list(metrics) == ["auroc", "ap", "recall_at_1pct", "recall_at_5pct"]


def test_wilson_refuses_what_is_no_share() -> None:
    for successes, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError):
            wilson(successes, n)


def test_latency_percentiles_by_stage() -> None:
    timings = [{"read": float(i), "graph": 10.0} for i in range(1, 101)] + [{"graph": 10.0}]
    assert percentiles(timings) == {
        "read": {"p50": 50.5, "p95": pytest.approx(95.05)},
        "graph": {"p50": 10.0, "p95": 10.0},
    }
    assert percentiles([]) == {}


def test_every_metric_has_its_heading() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
    headings = {line[4:] for line in page.read_text("utf-8").splitlines() if line.startswith("### ")}
    # those have tests of their own, beside what measures them
    headings = {one for one in headings if not one.startswith(("explanation.", "comparison."))}
    heat = np.zeros((2, 2), np.float32)
    groups = {
        "metrics.image": image_metrics([0.0], [True]),
        "metrics.verdict": verdict_metrics([None], [True]),
        "metrics.probability": probability_metrics([0.5], [True]),
        "metrics.class": class_metrics(["dent"], ["good"]),
        "metrics.pixel": pixel_metrics([heat], [None], 0.5),
        "per_defect": per_defect(["dent"], [None], [None])["dent"],
    }
    names = {f"{group}.{name}" for group, metrics in groups.items() for name in metrics}
    assert headings == names | {"confusion", "class_confusion", "timings_ms"}


def _slow_ece(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Deal sorted parts out one by one and compare mean and share bin by bin."""
    order = np.argsort(probabilities, kind="stable")
    total = 0.0
    for number in range(bins):
        members = [i for place, i in enumerate(order) if int((place + 0.5) / len(order) * bins) == number]
        if members:
            gap = abs(np.mean(probabilities[members]) - np.mean(truth[members]))
            total += gap * len(members) / len(order)
    return total


@pytest.mark.parametrize("n", [1, 7, 15, 100, 301])
def test_calibration_error_and_brier_score_are_the_slow_ones(n: int) -> None:
    rng = np.random.default_rng(n)
    probabilities, truth = rng.random(n), rng.random(n) < 0.4
    found = classification.expected_calibration_error(probabilities, truth)
    assert found.value == pytest.approx(_slow_ece(probabilities, truth))
    assert found.value != pytest.approx(_slow_ece(1 - probabilities, truth))  # the oracle can fail
    brier = classification.brier_score(probabilities, truth)
    assert brier.value == pytest.approx(brier_score_loss(truth, probabilities))
    for metric in (found, brier):
        assert metric.n == n
        if n > 1:
            assert metric.low is not None and metric.high is not None and metric.value is not None
            assert metric.low <= metric.value <= metric.high


def test_perfect_and_worst_probabilities() -> None:
    truth = np.arange(40) % 2 == 0
    assert classification.expected_calibration_error(truth.astype(float), truth).value == 0
    assert classification.brier_score(1 - truth, truth).value == 1
    even = classification.expected_calibration_error(np.full(30, 0.5), np.arange(30) % 2 == 0)
    assert even.value == pytest.approx(0)
    assert classification.brier_score([], []).value is None
    with pytest.raises(ValueError, match="0 to 1"):
        classification.brier_score([1.2], [True])


def test_classes_are_measured_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    names = np.array(["good", "dent", "scratch"])
    labels, predicted = names[rng.integers(0, 3, 90)].tolist(), names[rng.integers(0, 3, 90)].tolist()
    found = classification.macro_f1(labels, predicted)
    assert found.value == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.low is not None and found.low <= found.value <= (found.high or 0)
    assert classification.class_accuracy(labels, predicted).value == accuracy_score(labels, predicted)
    table = classification.class_confusion(labels, predicted, names.tolist())
    assert list(table) == ["good", "dent", "scratch"]
    expected = confusion_matrix(labels, predicted, labels=names)
    assert [[table[one][other] for other in names] for one in names] == expected.tolist()
    assert classification.macro_f1([], []).value is None
