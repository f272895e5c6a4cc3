"""The solvers against scikit-learn, the temperature, and the rows that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC

from flawscope.core.errors import ConfigError, DataError
from flawscope.core.types import Area, Sample
from flawscope.methods.classifier import (
    Temperature,
    class_indices,
    class_names,
    cross_entropy,
    fit_temperature,
    log_odds,
)
from flawscope.methods.contract import FitContext
from flawscope.methods.features import Embedding
from flawscope.methods.frozen import Problem, Rows, _rounds, by_photograph, row_weights
from flawscope.methods.linear import logistic
from flawscope.methods.pooled import Views
from flawscope.methods.svm import squared_hinge


def rows(classes: int, *, n: int = 120, channels: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, classes, n)
    return rng.normal(size=(n, channels)) + rng.normal(size=(classes, channels))[indices] * 0.8, indices


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_logistic_regression_is_scikit_learns(classes: int, penalty: float) -> None:
    vectors, indices = rows(classes)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(vectors))
    weights /= weights.sum()
    found = logistic(vectors, indices, Problem(classes, penalty, weights), None)
    oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
    oracle.fit(vectors, indices, sample_weight=weights)
    logits = vectors @ found[0] + found[1]
    if classes == 2:  # two weight vectors share the penalty: half of it each
        oracle = LogisticRegression(C=2 / penalty, tol=1e-10, max_iter=10_000)
        oracle.fit(vectors, indices, sample_weight=weights)
    expected = oracle.predict_proba(vectors)
    np.testing.assert_allclose(np.exp(log_softmax(logits, axis=1)), expected, atol=2e-4)
    again = logistic(vectors, indices, Problem(classes, penalty, weights), found)
    np.testing.assert_allclose(again[0], found[0], atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_machine_is_scikit_learns(classes: int) -> None:
    vectors, indices = rows(classes, seed=3)
    weights = np.full(len(vectors), 1 / len(vectors))
    found = squared_hinge(vectors, indices, Problem(classes, 0.05, weights), None)
    # theirs has no free bias: one of a very large feature hardly pays
    oracle = LinearSVC(
        C=1 / (0.05 * len(vectors)), dual=False, tol=1e-10, max_iter=100_000, intercept_scaling=1000
    )
    expected = oracle.fit(vectors, indices).decision_function(vectors)
    logits = vectors @ found[0] + found[1]
    np.testing.assert_allclose(logits[:, 1] if classes == 2 else logits, expected, atol=2e-3)
    if classes == 2:
        np.testing.assert_allclose(logits[:, 0], -logits[:, 1])


def test_a_temperature_takes_back_what_was_overdone() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    indices = (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(int)
    overdone = np.stack([np.zeros(20_000), 5 * odds + 3], 1)
    temperature, loss = fit_temperature(overdone, indices)
    assert temperature.scale == pytest.approx(0.2, rel=0.05)
    assert temperature.offset == pytest.approx(-0.6, abs=0.1)
    assert loss == pytest.approx(cross_entropy(np.stack([0 * odds, odds], 1), np.eye(2)[indices]), abs=0.01)


def test_samples_that_are_perfectly_apart_promise_no_certainty() -> None:
    logits = np.stack([np.zeros(20), np.repeat([-9.0, 9.0], 10)], 1)
    temperature, _ = fit_temperature(logits, np.repeat([0, 1], 10))
    probability = 1 / (1 + np.exp(-log_odds(temperature.applied(logits))))
    assert probability.max() == pytest.approx(11 / 12, abs=0.01)
    assert probability.min() == pytest.approx(1 / 12, abs=0.01)


def test_samples_of_no_class_leave_the_temperature_alone_and_one_side_is_refused() -> None:
    logits, indices = rows(3, channels=3)
    with_strangers = np.concatenate([logits, logits[:9] * 50]), np.concatenate([indices, np.full(9, -1)])
    assert fit_temperature(*with_strangers) == fit_temperature(logits, indices)
    with pytest.raises(ValueError, match="good and bad"):
        fit_temperature(logits, np.zeros(len(logits), int))


def test_a_folded_temperature_is_the_applied_one() -> None:
    vectors, _ = rows(3)
    weights, bias = np.random.default_rng(0).normal(size=(6, 3)), np.array([0.1, 0.2, 0.3])
    temperature = Temperature(2.5, -0.7)
    folded = temperature.folded(weights, bias)
    np.testing.assert_allclose(vectors @ folded[0] + folded[1], temperature.applied(vectors @ weights + bias))


def labelled(*labels: str | None) -> list[Sample]:
    return [Sample(id=str(i), path=f"{i}.png", label=label) for i, label in enumerate(labels)]


def test_class_names_and_places() -> None:
    samples = labelled("good", "scratch", "dent", None, "good")
    assert class_names(samples, "two") == ("good", "defect")
    assert class_names(samples, "all") == ("good", "dent", "scratch")
    assert class_indices(samples, ("good", "defect")).tolist() == [0, 1, 1, -1, 0]
    assert class_indices(samples, ("good", "dent")).tolist() == [0, -1, 1, -1, 0]
    with pytest.raises(DataError, match="Two classes"):
        class_names(labelled("good", None), "two")


def test_rows_share_the_weight_of_their_photograph() -> None:
    indices, owners = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2, 3])
    some = Rows(np.zeros((7, 1)), indices, owners, np.ones(7, bool))
    alike = row_weights(some, 3, balance=1.0)
    np.testing.assert_allclose([alike[indices == k].sum() for k in range(3)], 1 / 3)
    many = row_weights(some, 3, balance=0.0)
    np.testing.assert_allclose([many[owners == k].sum() for k in range(4)], 1 / 4)


def test_folds_judge_what_others_could_teach() -> None:
    """A class of one photograph is not judged; nothing is where a fold would leave no bad one to teach."""
    samples = labelled(*["good"] * 10, *["dent"] * 6, "scratch")
    truth = class_indices(samples, class_names(samples, "all"))
    owners = np.repeat(np.arange(17), 2)
    rows_of = Rows(np.zeros((34, 1)), truth[owners], owners, np.tile([True, False], 17))
    rounds = _rounds(samples, rows_of, truth, 0)
    judged = np.concatenate([judged.owners for _, judged in rounds])
    assert sorted(judged.tolist()) == list(range(16))
    for rest, left_out in rounds:
        assert not set(rest.owners) & set(left_out.owners) and left_out.own_view.all()
    few = labelled(*["good"] * 10, *["dent"] * 3)
    truth = class_indices(few, ("good", "defect"))
    owners = np.arange(13)
    assert _rounds(few, Rows(np.zeros((13, 1)), truth, owners, np.ones(13, bool)), truth, 0) == []


def test_a_photograph_answers_with_its_oddest_canvas() -> None:
    logits = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 0.0]])
    found = by_photograph(logits, np.array([4, 4, 7]))
    assert found[4].tolist() == [0.0, 3.0] and found[7].tolist() == [2.0, 0.0]


def test_flips_and_a_region_of_interest_are_refused_together(backbone, preprocess) -> None:
    from dataclasses import replace

    from flawscope.imaging.augment import Augmentation

    area = Area(np.array([[True, False]]))
    context = FitContext(backbone, replace(preprocess, area=area), threads=1)
    with pytest.raises(ConfigError, match="region of interest"):
        context.pooled(Embedding(), Views(2, Augmentation("both"), 0))
    context.pooled(Embedding(), Views(1, Augmentation("both"), 0))


def test_a_further_sign_counts_as_much_as_it_ranks() -> None:
    rng = np.random.default_rng(3)
    indices = np.repeat([0, 1], 60)
    bad = indices > 0
    known = np.stack([np.zeros(120), rng.normal(size=120) + bad], 1)  # tells a little
    # a sign that is 0 on most and far up on a few: sure where it speaks
    sign = np.where(bad & (rng.random(120) < 0.6), rng.exponential(5.0, 120), 0.0)

    def ranks(temperature: Temperature, signs: np.ndarray | None) -> float:
        return roc_auc_score(bad, log_odds(temperature.applied(known, signs)))

    both = fit_temperature(known, indices, oddness=sign)[0]
    alone = ranks(fit_temperature(known, indices)[0], None)
    assert ranks(both, sign) > max(alone, roc_auc_score(bad, sign)) + 0.02
    told = 1 / (1 + np.exp(-log_odds(both.applied(known, sign))))
    assert abs(told.mean() - bad.mean()) < 0.03  # probabilities hold for the mix
    noise = fit_temperature(known, indices, oddness=rng.random(120))[0]
    assert ranks(noise, np.zeros(120)) == pytest.approx(alone, abs=1e-9) and noise.scale > 0
    useless = fit_temperature(rng.normal(size=(120, 2)) * 0, indices, oddness=sign)[0]
    assert useless.slope > 0
