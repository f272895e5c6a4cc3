"""The graphs' building blocks against numpy, OpenCV and brute force."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from flawscope.core.types import Preprocess
from flawscope.imaging.resample import resize_matrix
from flawscope.methods.graph import (
    Ending,
    GraphBuilder,
    canvas_input,
    cover,
    finish,
    over_picture,
)
from flawscope.runtime.backbone import Backbone, BackboneCard, Level
from flawscope.runtime.session import GraphSession

SIZE, GRID = (32, 48), (4, 6)
BOXES = np.array([[0, 0, 48, 32], [4, 0, 40, 32], [0, 6, 48, 27], [10, 9, 30, 20]], np.float32)


def ended(distance: np.ndarray, boxes: np.ndarray, **values: object) -> dict[str, np.ndarray]:
    """Run distances (N, h, w) through `finish` alone."""
    ending = Ending(SIZE, GRID, **({"smoothing_px": 2.0, "top_share": 0.0} | values))  # type: ignore[arg-type]
    graph = GraphBuilder()
    graph.input("image", TensorProto.FLOAT, ["N", *GRID])
    content = graph.input("content_xyxy", TensorProto.FLOAT, ["N", 4])
    finish(graph, "image", content, ending)
    return GraphSession(graph.model(halves=False), threads=1).run(distance.astype(np.float32), boxes)


@pytest.mark.parametrize("source, target", [(7, 28), (14, 28), (1, 5), (28, 28), (5, 12)])
def test_resize_matrix_interpolates_as_opencv_does(source, target):
    values = np.random.default_rng(0).random((source, 3)).astype(np.float32)
    matrix = resize_matrix(source, target)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(
        matrix @ values, cv2.resize(values, (3, target), interpolation=cv2.INTER_LINEAR), atol=1e-5
    )


def test_resize_matrix_smooths_and_still_adds_up_to_one():
    matrix = resize_matrix(6, 48, 5.0)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    assert (matrix >= 0).all()
    assert np.abs(np.diff(matrix, axis=0)).max() < np.abs(np.diff(resize_matrix(6, 48), axis=0)).max()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_cover_is_the_share_of_each_cell(run_graph, corners):
    left, right = sorted([corners[0] * 48, corners[1] * 48])
    top, bottom = sorted([corners[2] * 32, corners[3] * 32])
    box = np.array([[left, top, right, bottom]], np.float32)
    got = run_graph(lambda graph, box: cover(graph, box, SIZE, GRID), box=box)[0]
    across = [max(0.0, min(right, (i + 1) * 8) - max(left, i * 8)) / 8 for i in range(6)]
    down = [max(0.0, min(bottom, (i + 1) * 8) - max(top, i * 8)) / 8 for i in range(4)]
    np.testing.assert_allclose(got, np.outer(down, across), atol=1e-5)


@pytest.mark.parametrize("box", BOXES.tolist())
def test_over_picture_reads_the_grid_where_the_picture_lies(run_graph, box):
    values = np.random.default_rng(0).random(GRID).astype(np.float32)
    got = run_graph(
        lambda graph, box: over_picture(graph, values, box, SIZE), box=np.array([box], np.float32)
    )[0]
    left, top, right, bottom = box
    rows = ((np.arange(4) + 0.5) * 8 - top) / (bottom - top) * 4 - 0.5
    columns = ((np.arange(6) + 0.5) * 8 - left) / (right - left) * 6 - 0.5
    down = np.stack([np.interp(rows, np.arange(4), values[:, j]) for j in range(6)], 1)
    expected = np.stack([np.interp(columns, np.arange(6), line) for line in down])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_an_even_distance_gives_an_even_map_and_none_of_it_in_the_padding():
    result = ended(np.full((4, *GRID), 3.0), BOXES)
    for box, heat in zip(BOXES.astype(int), result["map"], strict=True):
        left, top, right, bottom = box
        inside = np.zeros(SIZE, bool)
        inside[top:bottom, left:right] = True
        np.testing.assert_allclose(heat[inside], 3, rtol=1e-4)
        assert (heat[~inside] == 0).all()
    np.testing.assert_allclose(result["score"][:2], 3, rtol=1e-5)


def test_heat_in_the_padding_neither_scores_nor_leaks():
    distance = np.full((1, *GRID), 1.0)
    hot = distance.copy()
    hot[:, :, 0] = 1000  # columns 0 to 7 of the canvas, all padding
    box = np.array([[8, 0, 48, 32]], np.float32)
    cool, heated = ended(distance, box), ended(hot, box)
    np.testing.assert_allclose(heated["score"], cool["score"])
    np.testing.assert_allclose(heated["map"], cool["map"], rtol=1e-5)


def test_what_is_not_judged_neither_scores_nor_shows():
    judged = np.ones(GRID, bool)
    judged[:2] = False
    distance = np.ones((1, *GRID))
    distance[0, 0, 0] = 50
    result = ended(distance, BOXES[:1], judged=judged, smoothing_px=0.0)
    assert result["score"][0] == pytest.approx(1)
    assert result["map"].max() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("top_share, count", [(0.0, 1), (0.1, 2), (0.5, 12), (1.0, 24)])
def test_the_score_is_the_mean_of_the_highest(top_share, count):
    distance = np.random.default_rng(0).random((3, *GRID))
    result = ended(distance, np.repeat(BOXES[:1], 3, axis=0), top_share=top_share)
    expected = np.sort(distance.reshape(3, -1), axis=1)[:, -count:].mean(1)
    np.testing.assert_allclose(result["score"], expected, rtol=1e-5)


def test_the_map_peaks_where_the_distance_does():
    distance = np.zeros((1, *GRID))
    distance[0, 2, 4] = 1
    heat = ended(distance, BOXES[:1])["map"][0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 16 <= row < 24 and 32 <= column < 40


def echo_backbone() -> Backbone:
    """A backbone that gives its input back, from an unnamed and a named node."""
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["image"], ["between"]),
            helper.make_node("Identity", ["between"], ["level"], name="last"),
        ],
        "echo",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("level", TensorProto.FLOAT, ["N", 3, "H", "W"])],
    )
    card = BackboneCard("echo", (Level("level", 3, 1),), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "here", "none")
    return Backbone(card, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


def test_the_backbone_gets_normalised_pixels_and_mirrored_padding():
    backbone, graph = echo_backbone(), GraphBuilder()
    image, _ = canvas_input(graph, Preprocess(SIZE), backbone)
    (level,) = graph.include(backbone.model, inputs=[image])
    graph.output("features", level, TensorProto.FLOAT, ["N", 3, *SIZE])
    model = graph.model(halves=False)
    onnx.checker.check_model(model, full_check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(BOXES), *SIZE, 3), np.uint8)
    got = GraphSession(model, threads=1).run(pixels, BOXES)["features"].transpose(0, 2, 3, 1)
    for i, (left, top, right, bottom) in enumerate(BOXES.astype(int)):
        picture = pixels[i, top:bottom, left:right]
        around = ((top, SIZE[0] - bottom), (left, SIZE[1] - right), (0, 0))
        mirrored = np.pad(
            picture, around, mode="reflect"
        )  # numpy goes back and forth where the picture is short
        expected = (mirrored / 255 - np.array(backbone.card.mean)) / np.array(backbone.card.std)
        np.testing.assert_allclose(got[i], expected, atol=1e-5)
