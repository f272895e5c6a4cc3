"""Features, their moments and projections against numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from sklearn.decomposition import PCA

from flawscope.core.errors import ConfigError, DataError, ImageError
from flawscope.core.progress import Silent
from flawscope.core.types import Area, Fit, Preprocess, Sample
from flawscope.methods import features
from flawscope.methods.features import (
    Embedding,
    FeatureConfig,
    FeatureStore,
    Moments,
    balance,
    evenly,
    geometry,
    level_maps,
    overall_moments,
    principal,
    projected,
    quota,
    span,
)
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.methods.settings import judged_on_grid
from flawscope.runtime.session import GraphSession


def test_geometry_follows_the_strides(backbone):
    where = geometry(backbone, (96, 128))
    assert where.grid_hw == (12, 16) and where.positions == 192
    assert where.level_grids == ((12, 16), (6, 8)) and sum(where.channels) == 384
    with pytest.raises(ConfigError, match="multiples of 16"):
        geometry(backbone, (96, 120))


def test_stored_features_are_the_same_with_and_without_room(chips, backbone, preprocess, monkeypatch):
    roomy = FeatureStore(backbone, preprocess, Embedding(), threads=1)
    first = [(i, v.copy(), s.copy()) for i, v, s in roomy.stream(chips.fit[:4])]
    again = list(roomy.stream(chips.fit[2:4] + chips.fit[4:5] + chips.fit[:1]))
    monkeypatch.setattr(features, "CACHE_BYTES", 0)
    tight = FeatureStore(backbone, preprocess, Embedding(), threads=1)
    fresh = list(tight.stream(chips.fit[2:4] + chips.fit[4:5] + chips.fit[:1]))
    assert [i for i, _, _ in first] == [0, 1, 2, 3]
    for (i, kept, shown), (j, computed, also) in zip(again, fresh, strict=True):
        assert i == j and (kept == computed).all() and (shown == also).all()
    assert (again[0][1] == first[2][1]).all() and (again[3][1] == first[0][1]).all()
    assert first[0][1].dtype == np.float16 and first[0][1].shape == (192, 384)


def test_levels_have_unit_length_before_they_are_averaged(chips, backbone, preprocess):
    store = FeatureStore(backbone, preprocess, Embedding(neighbourhood=1), threads=1)
    ((_, vectors, shown),) = store.stream(chips.fit[:1])
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :128].astype(float), axis=1), 1, atol=0.01)
    assert shown.all()


def test_an_unreadable_photograph_is_named(backbone, preprocess, tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    store = FeatureStore(backbone, preprocess, Embedding(), threads=1)
    with pytest.raises(ImageError, match=r"empty\.png"):
        list(store.stream([Sample(id="0", path=path.as_posix(), label="good")]))


def test_padding_and_what_is_not_judged_are_not_taught(chips, backbone):
    judged = np.ones((2, 2), bool)
    judged[0] = False
    area = Area(judged)
    letterbox = Preprocess(size_hw=(128, 128), fit=Fit.LETTERBOX, area=area)
    store = FeatureStore(backbone, letterbox, Embedding(), threads=1)
    ((_, _, shown),) = store.stream(chips.fit[:1])
    expected = np.zeros((16, 16), bool)
    expected[8:14] = True  # the picture fills rows 2 to 13, its lower half is judged
    assert (shown.reshape(16, 16) == expected).all()
    tiles = Preprocess(size_hw=(128, 128), fit=Fit.TILES, area=area)
    assert judged_on_grid(tiles, (16, 16)) is None


def test_projected_equals_features_times_matrix(chips, backbone, context, canvas):
    rng = np.random.default_rng(0)
    matrix, offset = (
        rng.standard_normal((384, 7)).astype(np.float32),
        rng.standard_normal(7).astype(np.float32),
    )
    where, graph = geometry(backbone, (96, 128)), GraphBuilder()
    image, _ = canvas_input(graph, Preprocess(where.size_hw), backbone)
    maps = level_maps(graph, image, backbone, Embedding())
    value = projected(graph, maps, where, matrix=matrix, offset=offset)
    graph.output("projected", value, TensorProto.FLOAT, ["N", 7, 192])
    got = GraphSession(graph.model(halves=False), threads=1).run(
        canvas(chips.fit[0].path), np.array([[0, 0, 128, 96]], np.float32)
    )["projected"][0]
    ((_, vectors, _),) = context.features(Embedding()).stream(chips.fit[:1])
    np.testing.assert_allclose(got.T, vectors.astype(np.float32) @ matrix + offset, atol=0.01)


def test_moments_are_those_of_all_vectors_at_once():
    values = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float16)
    moments = Moments(6)
    for part in np.array_split(values, 7):
        moments.add(part)
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean, values.astype(float).mean(0), atol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(values.astype(float).T, bias=True), atol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_principal_components_are_those_of_scikit_learn(power):
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((400, 6)) * [5, 3, 2, 1, 0.5, 0.1]) @ np.linalg.qr(rng.random((6, 6)))[
        0
    ] + 4
    moments = Moments(6)
    moments.add(values)
    matrix, offset, variances = principal(moments, 3, power=power)
    pca = PCA(3).fit(values)
    np.testing.assert_allclose(variances, pca.explained_variance_ * 399 / 400, rtol=1e-3)
    expected = pca.transform(values) / variances ** (power / 2)
    got = values @ matrix + offset
    signs = np.sign((got * expected).sum(0))
    np.testing.assert_allclose(got, expected * signs, atol=2e-3)
    assert principal(moments, 0)[0].shape == (6, 6) and principal(moments, 99)[0].shape == (6, 6)
    strongest = matrix[np.abs(matrix).argmax(0), range(3)]
    assert (strongest > 0).all()


def test_weights_give_every_level_a_mean_square_length_of_one():
    rng = np.random.default_rng(1)
    values = rng.random((300, 7)) * [1, 2, 3, 40, 50, 60, 70] + 5
    moments = Moments(7)
    moments.add(values)
    weights = balance(moments, (3, 4))
    scaled = values * weights
    assert np.square(scaled[:, :3]).sum(1).mean() == pytest.approx(1, rel=1e-3)
    assert np.square(scaled[:, 3:]).sum(1).mean() == pytest.approx(1, rel=1e-3)
    assert np.unique(weights[:3].round(12)).size == np.unique(weights[3:].round(12)).size == 1


def test_components_of_weighted_channels_are_those_of_the_channels_weighted_beforehand():
    rng = np.random.default_rng(2)
    values, weights = rng.standard_normal((300, 5)) @ rng.random((5, 5)) + 2, np.array([1, 2, 0.5, 3, 1])
    plain, weighted = Moments(5), Moments(5)
    plain.add(values)
    weighted.add(values * weights)
    for power in (0.0, 0.5):
        matrix, offset, variances = principal(plain, 3, power=power, weights=weights)
        expected, shift, spread = principal(weighted, 3, power=power)
        np.testing.assert_allclose(variances, spread, rtol=1e-3)
        np.testing.assert_allclose(values @ matrix + offset, (values * weights) @ expected + shift, atol=5e-3)


@pytest.mark.parametrize(
    "neighbourhood, stride, expected",
    [(1, 8, 1), (1, 16, 1), (3, 8, 3), (3, 16, 3), (5, 8, 5), (5, 16, 3), (9, 16, 5), (9, 32, 3)],
)
def test_coarser_levels_are_averaged_over_the_same_span_of_the_picture(neighbourhood, stride, expected):
    assert span(neighbourhood, 8, stride) == expected


def test_nothing_to_teach_from_is_said(context):
    with pytest.raises(DataError, match="No position"):
        overall_moments((), context.features(Embedding()), Silent())


@pytest.mark.parametrize("total, most, expected", [(3, 5, [0, 1, 2]), (10, 5, [0, 2, 4, 6, 8]), (0, 5, [])])
def test_evenly_spreads_over_all(total, most, expected):
    assert evenly(total, most=most) == expected


@pytest.mark.parametrize("total, wanted, each", [(10, 100, 10), (3, 100, 34), (1000, 100, 1), (0, 5, 5)])
def test_quota_reaches_what_is_wanted(total, wanted, each):
    assert quota(total, wanted=wanted) == each


def test_an_even_neighbourhood_is_refused():
    with pytest.raises(ConfigError, match="odd"):
        FeatureConfig(neighbourhood=2)
