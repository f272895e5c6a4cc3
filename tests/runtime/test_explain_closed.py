"""Closed-form class activation maps against slow, obvious versions."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.runtime.explain.closed import grad_cam, grad_cam_plus_plus, layer_cam
from flawscope.runtime.explain.contract import all_levels, level_names


def slow_plus_plus(features: np.ndarray, weight: np.ndarray, share: np.ndarray, eps: float) -> np.ndarray:
    """Grad-CAM++ by loops, with the guard as it is stated."""
    channels, rows, columns = features.shape
    heat = np.zeros((rows, columns))
    for k in range(channels):
        total = features[k].sum()
        found = 0.0
        for r in range(rows):
            for c in range(columns):
                g = weight[k] * share[r, c] / share.sum()
                if g > 0:
                    found += g**2 / (g**2 * max(2 + g * total, 1.0) + eps) * g
        heat += found * features[k]
    return np.maximum(heat, 0)


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("signed", [False, True])
def test_gradcam_plus_plus_equals_the_loops(eps, signed):
    rng = np.random.default_rng(0)
    features = rng.normal(0, 3, (2, 6, 4, 5)).astype(np.float32)
    features = features if signed else np.abs(features)
    weight = rng.normal(0, 2, 6).astype(np.float32)
    weight[0] = 0
    share = np.ones((2, 4, 5), np.float32)
    share[1, 0], share[1, :, -1] = 0.0, 0.3
    found = grad_cam_plus_plus(features, weight, share=share, eps=eps)
    for i in range(2):
        wanted = slow_plus_plus(features[i].astype(float), weight.astype(float), share[i].astype(float), eps)
        np.testing.assert_allclose(found[i], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad_cam_plus_plus(features, weight, eps=eps)[0], found[0], rtol=1e-5)


def test_the_guard_holds_where_activations_cancel_the_two():
    """g S = -2 exactly: unguarded, the weight would be infinite."""
    features = np.full((1, 2, 2, 2), -1.0, np.float32)
    features[0, 1] = [[1, 2], [3, 4]]
    weight = np.array([2.0, 1.0], np.float32)  # g = 0.5, S = -4
    found = grad_cam_plus_plus(features, weight)
    assert np.isfinite(found).all()
    first = np.float32(4 * 0.5 / 1.0) * features[0, 0]  # held at 1
    second = np.float32(4 * 0.25 / (2 + 0.25 * 10)) * features[0, 1]
    np.testing.assert_allclose(found[0], np.maximum(first + second, 0), rtol=1e-6)


def test_gradcam_is_the_evidence_without_bias_over_the_positions():
    rng = np.random.default_rng(1)
    features, weight = rng.normal(size=(1, 5, 3, 4)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    wanted = np.maximum(np.einsum("c,chw->hw", weight, features[0]), 0) / 12
    np.testing.assert_allclose(grad_cam(features, weight)[0], wanted, atol=1e-6)


def test_layercam_counts_what_speaks_for_the_class_where_the_picture_shows():
    features = np.ones((1, 2, 1, 2), np.float32)
    share = np.array([[[1.0, 0.0]]], np.float32)
    found = layer_cam(features, np.array([3.0, -5.0], np.float32), share=share)
    assert found.tolist() == [[[3.0, 0.0]]]
    assert layer_cam(features, np.array([3.0, -5.0], np.float32)).tolist() == [[[1.5, 1.5]]]


def test_an_empty_canvas_gives_an_empty_map():
    features = np.ones((1, 2, 2, 2), np.float32)
    nothing = np.zeros((1, 2, 2), np.float32)
    weight = np.ones(2, np.float32)
    assert not grad_cam_plus_plus(features, weight, share=nothing).any()
    assert not layer_cam(features, weight, share=nothing).any()


def test_levels_are_ordered_by_number_and_brought_to_the_finest_grid():
    names = ("map", "features_10", "features_2", "features", "features_x", "score")
    assert level_names(names) == ("features", "features_2", "features_10")
    coarse = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    outputs = {"features": np.zeros((1, 3, 4, 4), np.float32), "features_1": coarse}
    joined = all_levels(outputs)
    assert joined.shape == (1, 4, 4, 4)
    assert joined[0, 3, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
