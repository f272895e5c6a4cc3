"""Inverse feature matching against slow, obvious versions; what it needs of a bundle; masking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core.types import Image
from flawscope.imaging.preprocess import Canvases
from flawscope.imaging.resample import to_grid
from flawscope.runtime.explain import explainers
from flawscope.runtime.explain.contract import Head, Known, Shown
from flawscope.runtime.explain.ifm import (
    class_product,
    inverse_match,
    released_map,
    weighted,
    within_product,
)
from flawscope.runtime.references import References


def references(vectors: np.ndarray) -> References:
    count = len(vectors)
    return References(
        vectors.astype(np.float16),
        np.zeros(count, np.int32),
        np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
        ("good.png",),
        np.array([[8, 8]], np.int32),
        (b"",),
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 9), st.integers(1, 6), st.integers(1, 7))
def test_the_class_product_is_the_sum_over_channels(seed, count, channels, rows, columns):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, channels, rows, columns)).astype(np.float32)
    weight = rng.standard_normal(channels).astype(np.float32)
    slow = np.zeros((count, rows, columns))
    for i in range(count):
        for row in range(rows):
            for column in range(columns):
                slow[i, row, column] = sum(
                    float(weight[k]) * float(features[i, k, row, column]) for k in range(channels)
                )
    np.testing.assert_allclose(class_product(features, weight), slow, atol=1e-4)


def released_slowly(
    features: np.ndarray, weights: np.ndarray, mask: np.ndarray, predicted: int
) -> np.ndarray | None:
    """As the released code goes about it: features up first, then a product at every pixel."""
    if predicted == 0:
        return None
    large = to_grid(features, mask.shape)
    heat = np.zeros(mask.shape)
    for row, column in zip(*np.nonzero(mask), strict=True):
        heat[row, column] = float(large[:, row, column] @ weights[predicted])
    return heat


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_the_released_map_is_that_of_the_released_steps(seed, predicted):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((5, 3, 4)).astype(np.float32)
    weights = rng.standard_normal((3, 5)).astype(np.float32)
    mask = rng.random((24, 30)) < 0.7
    found = released_map(features, weights, mask, predicted=predicted)
    slow = released_slowly(features, weights, mask, predicted)
    if slow is None:
        assert found is None
        return
    assert found is not None
    np.testing.assert_allclose(found.heat, slow, atol=1e-4)
    assert (found.heat[~mask] == 0).all()
    values = [value for _, _, value in found.peaks]
    assert values == sorted(values, reverse=True) and len(values) <= 5
    assert all(value > 0.5 * slow.max() - 1e-4 for value in values)
    if slow.max() > 0:
        assert values[0] == pytest.approx(slow.max(), abs=1e-4)


def test_peaks_of_the_released_map_lie_apart_and_fit_the_size():
    features = np.zeros((1, 224, 224), np.float32)
    for row, column, value in ((50, 50, 1.0), (50, 57, 0.9), (120, 120, 0.8), (200, 30, 0.49)):
        features[0, row, column] = value
    weights = np.array([[0.0], [1.0]], np.float32)
    found = released_map(features, weights, np.ones((224, 224), bool), predicted=1)
    assert found is not None
    assert [peak[:2] for peak in found.peaks] == [(50, 50), (120, 120)]  # seven apart, and below half
    twice = released_map(np.kron(features, np.ones((2, 2))), weights, np.ones((448, 448), bool), predicted=1)
    assert twice is not None
    assert [(row // 2, column // 2) for row, column, _ in twice.peaks] == [(50, 50), (120, 120)]


def test_a_map_that_speaks_against_has_no_peak():
    weights = np.array([[0.0], [-1.0]], np.float32)
    found = released_map(np.ones((1, 4, 4), np.float32), weights, np.ones((16, 16), bool), predicted=1)
    assert found is not None and found.peaks == () and (found.heat == -1).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 2), st.integers(1, 20))
def test_the_inverse_match_is_one_less_the_best_cosine(seed, count, known):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, 6, 3, 4)).astype(np.float32)
    bank = references(rng.standard_normal((known, 6)))
    found = inverse_match(features, bank)
    for i in range(count):
        for row in range(3):
            for column in range(4):
                own = features[i, :, row, column].astype(np.float64)
                best = max(
                    own @ one / (np.linalg.norm(own) * np.linalg.norm(one))
                    for one in bank.vectors.astype(np.float64)
                )
                assert found[i, row, column] == pytest.approx(max(1 - best, 0), abs=1e-3)


def test_a_feature_that_good_parts_have_is_matched_at_any_strength():
    bank = references(np.eye(4))
    features = np.zeros((1, 4, 1, 3), np.float32)
    features[0, 2] = [1, 7, -1]
    np.testing.assert_allclose(inverse_match(features, bank)[0, 0], [0, 0, 1], atol=1e-6)


def test_evidence_counts_where_nothing_good_is_like_it():
    log_odds = np.array([[4.0, 4.0, -8.0]], np.float32)
    inverse = np.array([[0.0, 0.5, 0.5]], np.float32)
    found = weighted(log_odds, inverse)
    assert found[0, 0] == 0 and found[0, 1] == pytest.approx(2, abs=0.02) and found[0, 2] < 1e-3
    assert weighted(np.array([1e4], np.float32), np.ones(1, np.float32))[0] == pytest.approx(1e4)


def shown(features: np.ndarray, evidence: np.ndarray, bank: References) -> Shown:
    rows, columns = features.shape[2:]
    known = Known(None, None, ("good", "bent", "torn"), Head(HEAD, np.zeros(3, np.float32)), bank)  # type: ignore[arg-type]
    canvases = Canvases(
        np.zeros((len(features), rows, columns, 3), np.uint8),
        np.zeros((len(features), 4), np.float32),
        np.zeros((len(features), 4), np.int32),
        (rows, columns),
    )
    picture = Image(np.zeros((rows, columns, 3), np.uint8))
    return Shown(picture, canvases, {"features": features, "evidence": evidence}, 2, known)


HEAD = np.array([[0, 0], [5, 5], [1, -2]], np.float32)


def test_the_explainers_look_at_the_class_that_is_explained():
    features = np.ones((2, 2, 3, 3), np.float32)
    features[1, 0] = 4
    evidence = np.zeros((2, 3, 3, 3), np.float32)
    evidence[:, 0], evidence[:, 2] = 1, 3
    given = shown(features, evidence, references(np.array([[1.0, 1.0]])))
    np.testing.assert_allclose(explainers["ifm-cam"].explain(given)[:, 0, 0], [-1, 2], atol=1e-5)
    bank = explainers["ifm-bank"].explain(given)
    cosine = 5 / np.sqrt(2 * 17)
    expected = np.log1p(np.exp(2.0)) * (1 - cosine)
    np.testing.assert_allclose(bank[:, 1, 2], [0, expected], atol=1e-4)


def test_what_they_need_is_said():
    cam, bank = explainers["ifm-cam"], explainers["ifm-bank"]
    assert cam.head and not cam.references and bank.references
    assert cam.whole is within_product and bank.whole is within_product


def test_nothing_is_shown_outside_the_product():
    pixels = np.full((120, 160, 3), 30, np.uint8)
    pixels[40:80, 50:110] = 200
    heat = np.ones((60, 80), np.float32)
    found = within_product(Image(pixels), heat)
    assert (found[24:36, 29:51] == 1).all()
    assert (found[:16] == 0).all() and (found[:, :20] == 0).all() and (heat == 1).all()
    texture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert (within_product(Image(texture), heat) == 1).all()
