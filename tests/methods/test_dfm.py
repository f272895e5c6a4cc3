"""dfm against an explicit reconstruction in numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from flawscope.core.config import build
from flawscope.methods.contract import FitData
from flawscope.methods.dfm import Dfm, DfmConfig, complement
from flawscope.methods.features import Embedding, Moments
from flawscope.methods.places import Places, usual


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

    places = Places(store.geometry.grid_hw)
    for one in error(taught):
        places.add(one, np.ones(len(one), bool))
    expected = (error(asked) / usual(places, strength=1.0).reshape(-1)).max(1)
    np.testing.assert_allclose(scores_of(model, chips.test_bad[:4]), expected, rtol=0.01)
