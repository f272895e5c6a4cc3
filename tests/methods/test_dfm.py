"""dfm against an explicit reconstruction in numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from flawscope.core.config import build
from flawscope.methods.contract import FitData
from flawscope.methods.dfm import Dfm, DfmConfig, PlaceSums, complement, usual_error
from flawscope.methods.features import Embedding, Moments


def cloud(n: int = 500, channels: int = 8) -> np.ndarray:
    """Return vectors (n, C) whose variance falls from direction to direction."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((channels, channels)))[0]
    return (rng.standard_normal((n, channels)) * 0.5 ** np.arange(channels)) @ turned + 2


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_complement_measures_what_scikit_learn_cannot_rebuild(kept):
    values = cloud()
    moments = Moments(8)
    moments.add(values)
    matrix, offset = complement(moments, kept=kept)
    pca = PCA(n_components=kept, svd_solver="full").fit(values)
    rebuilt = pca.inverse_transform(pca.transform(values))
    assert matrix.shape == (8, 8 - pca.n_components_)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(values @ matrix + offset, axis=1),
        np.linalg.norm(values - rebuilt, axis=1),
        atol=1e-4,
    )


def test_one_direction_always_stays_outside():
    moments = Moments(4)
    moments.add(cloud(3, 4))  # fewer vectors than directions: the last variance is nought
    matrix, offset = complement(moments, kept=0.9999)
    assert matrix.shape[1] >= 1 and np.isfinite(matrix).all() and np.isfinite(offset).all()


def test_the_fitted_graph_scores_by_the_worst_reconstruction(chips, context, scores_of):
    settings = build(DfmConfig, {"kept": 0.9, "top_share": 0.0, "by_place": 1.0}, where="dfm")
    model = Dfm(settings).fit(FitData(chips.fit), context)
    store = context.features(Embedding())
    taught = np.stack([v for _, v, _ in store.stream(chips.fit)]).astype(np.float64)
    asked = np.stack([v for _, v, _ in store.stream(chips.test_bad[:4])]).astype(np.float64)
    pca = PCA(n_components=0.9, svd_solver="full").fit(taught.reshape(-1, taught.shape[2]))

    def error(values):
        flat = values.reshape(-1, values.shape[2])
        rest = flat - pca.inverse_transform(pca.transform(flat))
        return np.linalg.norm(rest, axis=1).reshape(values.shape[:2])

    usually = usual_error(
        energy_by_hand(taught, pca).reshape(store.geometry.grid_hw),
        np.full(store.geometry.grid_hw, 24.0),
        strength=1.0,
    )
    expected = (error(asked) / usually.reshape(-1)).max(1)
    np.testing.assert_allclose(scores_of(model, chips.test_bad[:4]), expected, rtol=0.01)


def energy_by_hand(taught, pca):
    """Return the squared error that is usual at each place of canvases (n, positions, C), one by one."""
    rest = np.eye(taught.shape[2]) - pca.components_.T @ pca.components_
    means = taught.mean(0)
    centred = (taught - means).reshape(-1, taught.shape[2])
    within = centred.T @ centred / len(centred)
    share = np.clip(np.diag(rest @ within @ rest) / np.maximum(np.diag(within), 1e-12), 0, 1)
    return np.array(
        [
            np.linalg.norm(rest @ (mean - pca.mean_)) ** 2 + place.var(0) @ share
            for mean, place in zip(means, taught.transpose(1, 0, 2), strict=True)
        ]
    )


def places_of(canvases):
    """Return the sums of canvases (n, positions, C) on a grid of 2x4, and their moments."""
    moments, places = Moments(canvases.shape[2]), PlaceSums((2, 4), canvases.shape[2])
    for one in canvases:
        moments.add(one)
        places.add(one, np.ones(8, bool))
    return moments, places


def test_usual_errors_are_those_of_all_canvases_on_average():
    canvases = cloud(80).reshape(10, 8, 8).astype(np.float32)
    canvases[:, 3] = 2 + 3 * (canvases[:, 3] - 2)  # a place that varies more
    moments, places = places_of(canvases)
    matrix, offset = complement(moments, kept=0.9)
    errors = ((canvases @ matrix + offset) ** 2).sum(2).mean(0)
    energy = places.energy(moments, matrix).reshape(-1)
    assert energy.mean() == pytest.approx(errors.mean(), rel=0.1)  # no channel counts more than whole
    assert energy.argmax() == errors.argmax() == 3


def test_usual_errors_hold_for_any_subspace_and_order():
    """What was summed up before the subspace was known serves every subspace, whatever came first."""
    canvases = cloud(80).reshape(10, 8, 8).astype(np.float32)
    moments, places = places_of(canvases)
    turned, again = places_of(canvases[::-1])
    for kept in (0.5, 0.9, 0.99):
        energies = [s.energy(m, complement(m, kept=kept)[0]) for m, s in ((moments, places), (turned, again))]
        np.testing.assert_allclose(*energies, rtol=1e-5)


def test_places_that_nobody_saw_are_as_all_are():
    energy, count = np.array([[4.0, 4.0, 0.0]]), np.array([[50.0, 50.0, 0.0]])
    np.testing.assert_allclose(usual_error(energy, count, strength=1.0), 2.0, rtol=1e-6)
    assert (usual_error(0 * energy, 0 * count, strength=1.0) == 1).all()
