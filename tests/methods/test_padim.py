"""padim against explicit numpy and scipy: sums, Gaussians, distances, and the whole graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from flawscope.core.config import build
from flawscope.methods.contract import FitData
from flawscope.methods.features import Embedding, overall_moments, principal
from flawscope.methods.padim import Padim, PadimConfig, PositionSums, gaussians, mahalanobis

GRID = (3, 4)


def vectors(n: int, k: int = 5, seed: int = 0) -> np.ndarray:
    """Return vectors (n, positions, k) with a mean and a spread of its own at each position."""
    rng = np.random.default_rng(seed)
    positions = GRID[0] * GRID[1]
    mixing = rng.standard_normal((positions, k, k))
    return np.einsum(
        "npk,pkl->npl", rng.standard_normal((n, positions, k)), mixing
    ) + 3 * rng.standard_normal((positions, k))


def summed(values: np.ndarray, shown: np.ndarray | None = None, blocks: int = 3) -> PositionSums:
    """Return the sums of these vectors, added in several blocks."""
    shown = np.ones(values.shape[:2], bool) if shown is None else shown
    sums = PositionSums(GRID, values.shape[2])
    for part in np.array_split(np.arange(len(values)), blocks):
        sums.add(values[part], shown[part])
    return sums


def test_running_sums_equal_two_passes():
    values = vectors(40) + 100  # far from zero, where sums of products lose most
    sums = summed(values)
    assert (sums.count == 40).all()
    mean = sums.total / sums.count[:, None]
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-12)
    covariance = sums.products / 40 - mean[:, :, None] * mean[:, None, :]
    for position in range(values.shape[1]):
        expected = np.cov(values[:, position].T, bias=True)
        np.testing.assert_allclose(covariance[position], expected, rtol=1e-8, atol=1e-8)


def test_hidden_positions_do_not_count():
    values, shown = vectors(20), np.random.default_rng(1).random((20, 12)) < 0.6
    garbage = np.where(shown[:, :, None], values, np.nan)
    sums = summed(garbage, shown)
    for position in range(12):
        seen = values[shown[:, position], position]
        assert sums.count[position] == len(seen)
        np.testing.assert_allclose(sums.total[position], seen.sum(0))
        np.testing.assert_allclose(sums.products[position], seen.T @ seen)


@pytest.mark.parametrize("sigma", [0.4, 1.5])
def test_spread_adds_the_neighbours_by_weight(sigma):
    values = vectors(6)
    sums = summed(values)
    spread = sums.spread(sigma)
    places = np.array([(row, column) for row in range(GRID[0]) for column in range(GRID[1])])
    for position, place in enumerate(places):
        weights = np.exp(-0.5 * ((places - place) ** 2).sum(1) / sigma**2)
        assert spread.count[position] == pytest.approx(6 * weights.sum())
        np.testing.assert_allclose(spread.total[position], weights @ values.sum(0))
        expected = sum(w * values[:, q].T @ values[:, q] for q, w in enumerate(weights))
        np.testing.assert_allclose(spread.products[position], expected)
    assert sums.spread(0) is sums


def test_whitening_gives_the_distances_of_scipy():
    values = vectors(30)
    mean, whitening = gaussians(summed(values), shrinkage=5.0)
    centred = values - values.mean(0)
    variance = np.square(centred).mean()
    queries = vectors(4, seed=1)
    for position in range(12):
        own = np.cov(values[:, position].T, bias=True)
        mixed = (30 * own + 5 * variance * np.eye(5)) / 35 + 1e-3 * variance * np.eye(5)
        for query in queries[:, position]:
            expected = scipy_mahalanobis(query, values[:, position].mean(0), np.linalg.inv(mixed))
            got = np.linalg.norm(whitening[position] @ (query - mean[position]))
            assert got == pytest.approx(expected, rel=1e-4)


def test_the_graph_measures_the_same_distances(run_graph):
    mean, whitening = gaussians(summed(vectors(30)), shrinkage=5.0)
    queries = vectors(3, seed=1).astype(np.float32)
    got = run_graph(
        lambda graph, query: mahalanobis(graph, query, mean=mean, whitening=whitening),
        query=np.ascontiguousarray(queries.transpose(0, 2, 1)),
    )
    expected = np.linalg.norm(np.einsum("pkl,npl->npk", whitening, queries - mean), axis=2)
    assert got.shape == (3, 12)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    hide=st.integers(0, 12),
    shrinkage=st.sampled_from([0.1, 10.0]),
)
def test_no_set_of_images_is_too_small(n, scale, hide, shrinkage):
    values = vectors(n, k=9) * scale
    shown = np.ones((n, 12), bool)
    shown[:, :hide] = False
    mean, whitening = gaussians(summed(values, shown), shrinkage=shrinkage)
    assert np.isfinite(mean).all() and np.isfinite(whitening).all()
    assert (np.diagonal(whitening, axis1=1, axis2=2) > 0).all()


def test_an_unseen_position_expects_what_all_others_show():
    values, shown = vectors(20), np.ones((20, 12), bool)
    shown[:, 3] = False
    mean, whitening = gaussians(summed(values, shown), shrinkage=5.0)
    others = np.delete(values, 3, axis=1)
    np.testing.assert_allclose(mean[3], others.mean((0, 1)), rtol=1e-5)
    variance = np.square(others - others.mean(0)).mean()
    np.testing.assert_allclose(whitening[3], np.eye(5) / np.sqrt(1.001 * variance), rtol=1e-4, atol=1e-6)


def test_the_fitted_graph_scores_by_the_farthest_position(chips, context, scores_of):
    settings_ = build(PadimConfig, {"components": 12, "top_share": 0.0, "neighbours": 0.0}, where="padim")
    model = Padim(settings_).fit(FitData(chips.fit), context)
    store = context.features(Embedding())
    matrix, offset, _ = principal(overall_moments(chips.fit, store, context.progress), 12)

    def projected(samples):
        return np.stack([v.astype(np.float64) @ matrix + offset for _, v, _ in store.stream(samples)])

    taught, asked = projected(chips.fit), projected(chips.test_bad[:4])
    variance = np.square(taught - taught.mean(0)).mean()
    expected = np.zeros(4)
    for position in range(taught.shape[1]):
        own = np.cov(taught[:, position].T, bias=True)
        mixed = (24 * own + 10 * variance * np.eye(12)) / 34 + 1e-3 * variance * np.eye(12)
        away = asked[:, position] - taught[:, position].mean(0)
        distance = np.sqrt(np.einsum("nk,kl,nl->n", away, np.linalg.inv(mixed), away) / 12)
        expected = np.maximum(expected, distance)
    np.testing.assert_allclose(scores_of(model, chips.test_bad[:4]), expected, rtol=0.02)
