"""Measures of explanations against slow, obvious versions, each of which a broken copy fails."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from flawscope.metrics import explanations, localisation
from flawscope.report.metric_words import EXPLANATION


def slow_area(answers: list[float]) -> float:
    total = 0.0
    for i in range(1, len(answers)):
        total += (answers[i - 1] + answers[i]) / 2
    return total / (len(answers) - 1)


def slow_iou(heat: np.ndarray, mask: np.ndarray) -> float:
    both = either = 0
    for value, flawed in zip(heat.ravel().tolist(), mask.ravel().tolist(), strict=True):
        both += value > 1 and flawed
        either += value > 1 or flawed
    return both / either if either else 0.0


def test_the_curve_area_equals_the_loop_and_spans_0_to_1():
    answers = np.random.default_rng(0).random(len(explanations.STEPS)).tolist()
    assert explanations.curve_area(np.array(answers)) == pytest.approx(slow_area(answers))
    assert explanations.curve_area(np.array(answers)) != pytest.approx(np.mean(answers), abs=1e-6)
    assert explanations.curve_area(np.ones(9)) == 1 and explanations.curve_area(np.zeros(9)) == 0


def test_steps_double_up_to_all_pixels():
    assert explanations.STEPS[-1] == 1
    assert np.allclose(np.diff(np.log2(explanations.STEPS)), 1)


def test_iou_and_dark_equal_the_loops():
    rng = np.random.default_rng(1)
    maps = [(rng.random((6, 7)) * 2).astype(np.float32) for _ in range(6)]
    maps[4] *= 0.4  # a good part that stays dark
    masks = [rng.random((6, 7)) < 0.2 for _ in range(4)] + [None, None]
    pixels = localisation.collect(maps, masks, pixel_threshold=1.0)
    wanted = np.mean([slow_iou(heat, mask) for heat, mask in zip(maps[:4], masks[:4], strict=True)])
    found = explanations.iou(pixels)
    assert found.value == pytest.approx(wanted) and found.n == 4
    assert found.low <= found.value <= found.high
    dark = explanations.dark(pixels)
    assert (dark.value, dark.n) == (0.5, 2)


def test_the_highest_place_counts_only_where_all_equally_high_ones_hit():
    mask = np.array([[True, False, False]])
    assert explanations.points_at_flaw(np.array([[3.0, 1.0, 2.0]]), mask)
    assert not explanations.points_at_flaw(np.array([[1.0, 3.0, 2.0]]), mask)
    assert not explanations.points_at_flaw(np.array([[3.0, 3.0, 2.0]]), mask)
    assert not explanations.points_at_flaw(np.zeros((1, 3)), mask)  # an empty map points nowhere
    assert explanations.pointing_game([True, False, True, True]).value == 0.75
    assert explanations.pointing_game([]).value is None


def test_answers_run_from_usual_to_whole():
    found = explanations.answer(np.array([1.0, 3.0, 5.0, 9.0]), usual=1.0, whole=5.0)
    assert found.tolist() == [0, 0.5, 1, 1]
    with pytest.raises(ValueError, match="not above"):
        explanations.answer(np.array([1.0]), usual=2.0, whole=2.0)


def test_pixels_are_ranked_by_heat_and_equals_without_a_favourite_corner():
    heat = np.array([[0.0, 5.0], [2.0, 0.0]])
    assert explanations.ranked_pixels(heat, seed=0)[:2].tolist() == [1, 2]
    flat = explanations.ranked_pixels(np.zeros((20, 20)), seed=0)
    assert sorted(flat.tolist()) == list(range(400))
    assert abs(flat[:100].mean() - 199.5) < 40
    assert (flat == explanations.ranked_pixels(np.zeros((20, 20)), seed=0)).all()


def test_means_hold_their_interval():
    one = explanations.mean([0.5], reason="none")
    assert (one.value, one.low, one.n) == (0.5, None, 1)
    many = explanations.mean([0.1, 0.5, 0.9, 0.3], reason="none")
    assert many.low < many.value < many.high
    assert explanations.mean([], reason="none").reason == "none"


def test_every_metric_of_explanations_has_its_heading():
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
    headings = re.findall(r"^### explanation\.(\w+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings == list(EXPLANATION)
