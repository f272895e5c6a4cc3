"""Marks from heat maps, at the photograph's own pixels, plain and refined."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from flawscope.imaging.marking import Reach, level_of, marks_of
from flawscope.imaging.refine import Refine, Window, refined, runs_away, window_xyxy


def bump(size_hw: tuple[int, int], centre_yx: tuple[float, float], width: float, height: float) -> np.ndarray:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    away = (rows - centre_yx[0]) ** 2 + (columns - centre_yx[1]) ** 2
    return (height * np.exp(-away / (2 * width**2))).astype(np.float32)


def disc(size_hw: tuple[int, int], centre_yx: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.hypot(rows - centre_yx[0], columns - centre_yx[1]) < radius


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_each_reach_has_its_level():
    heat = np.ones((20, 20), np.float32)
    heat[5, 5] = 3.0
    assert level_of(heat, pixel_limit=2.0, reach=Reach.PIXEL, share=1.0).value == 2.0
    assert level_of(heat, pixel_limit=2.0, reach=Reach.PEAK, share=0.8).value == pytest.approx(2.4)
    assert level_of(heat, pixel_limit=2.0, reach=Reach.RISE, share=0.25).value == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("heat", "reach"),
    [
        (bump((20, 20), (9, 9), 3, 1.0) + 0.5, Reach.PIXEL),  # nothing over the limit of 2
        (bump((20, 20), (9, 9), 3, 1.0) - 5.0, Reach.PEAK),  # log-odds: no zero to take a share from
    ],
)
def test_where_a_rule_has_nothing_to_hold_on_to_the_rise_takes_its_place(heat: np.ndarray, reach: Reach):
    level = level_of(heat, pixel_limit=2.0, reach=reach, share=0.8)
    assert level.reach is Reach.RISE
    assert np.median(heat) < level.value < heat.max()
    assert marks_of(heat, level=level.value, size_hw=(40, 40))


def test_a_flat_map_is_still_marked():
    heat = np.full((8, 8), 1.5, np.float32)
    level = level_of(heat, pixel_limit=1.0, reach=Reach.RISE, share=0.5)
    (mark,) = marks_of(heat, level=level.value, size_hw=(32, 32))
    assert mark.mask.all() and mark.box_xyxy == (0, 0, 32, 32)


def test_marks_are_at_the_photographs_own_pixels_hottest_first():
    heat = bump((32, 24), (8, 6), 2.0, 1.0) + bump((32, 24), (24, 17), 2.0, 2.0)
    size_hw = (320, 480)
    first, second = marks_of(heat, level=0.5, size_hw=size_hw)
    assert first.peak > second.peak > 0.5
    for mark, (y, x) in ((first, (245, 350)), (second, (85, 130))):
        left, top, right, bottom = mark.box_xyxy
        assert left < x < right and top < y < bottom
        assert mark.mask.shape == (bottom - top, right - left)
        assert mark.mask[0].any() and mark.mask[-1].any() and mark.mask[:, 0].any() and mark.mask[:, -1].any()
        assert 0.5 < mark.mean < mark.peak and not mark.is_refined
    full = cv2.resize(heat, size_hw[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    assert sum(mark.mask.sum() for mark in (first, second)) == full.sum()


def test_small_places_are_left_out_unless_nothing_else_is_marked():
    heat = np.zeros((20, 20), np.float32)
    heat[2, 2], heat[10:14, 10:14] = 3.0, 2.0
    assert [mark.mask.size for mark in marks_of(heat, level=1.0, size_hw=(20, 20), min_area_px=4)] == [16]
    only = marks_of(heat, level=1.0, size_hw=(20, 20), min_area_px=100)
    assert [mark.box_xyxy for mark in only] == [(2, 2, 3, 3)], "the hottest stays"


def scene(radius: float, *, noise: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark disc on bright ground, its heat (wider and off its middle), and the truth."""
    size_hw = (120, 160)
    truth = disc(size_hw, (60, 80), radius)
    grey = np.where(truth, 70.0, 170.0) + np.random.default_rng(0).normal(0, noise, size_hw)
    pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return pixels, bump(size_hw, (63, 84), radius, 1.0), truth


@pytest.mark.parametrize("refine", [Refine.GRABCUT, Refine.WALKER])
def test_refinement_finds_the_edge_that_the_photograph_shows(refine: Refine):
    pixels, heat, truth = scene(14.0)

    def drawn(how: Refine) -> np.ndarray:
        (mark,) = marks_of(heat, level=0.45, size_hw=truth.shape, pixels=pixels, refine=how)
        assert mark.is_refined == (how is not Refine.NONE)
        full = np.zeros(truth.shape, bool)
        left, top, right, bottom = mark.box_xyxy
        full[top:bottom, left:right] = mark.mask
        return full

    plain, finer = overlap(drawn(Refine.NONE), truth), overlap(drawn(refine), truth)
    assert plain < 0.8 < 0.93 < finer, (plain, finer)
    assert np.array_equal(drawn(refine), drawn(refine)), "the same photograph gets the same mask"


@pytest.mark.parametrize("refine", [Refine.GRABCUT, Refine.WALKER])
def test_large_places_are_refined_on_a_smaller_window(refine: Refine):
    size_hw = (900, 1200)
    truth = disc(size_hw, (450, 600), 180)
    pixels = np.repeat(np.where(truth, 60, 190).astype(np.uint8)[..., None], 3, axis=2)
    heat = bump((90, 120), (47, 63), 18.0, 1.0)
    (mark,) = marks_of(heat, level=0.5, size_hw=size_hw, pixels=pixels, refine=refine)
    full = np.zeros(size_hw, bool)
    left, top, right, bottom = mark.box_xyxy
    full[top:bottom, left:right] = mark.mask
    assert mark.is_refined and overlap(full, truth) > 0.9


@pytest.mark.parametrize("refine", [Refine.GRABCUT, Refine.WALKER])
def test_without_an_edge_in_reach_the_plain_mark_stays_or_keeps_its_place(refine: Refine):
    rng = np.random.default_rng(1)
    pixels = rng.integers(90, 110, (80, 80, 3)).astype(np.uint8)
    heat = bump((80, 80), (40, 40), 6.0, 1.0)
    (plain,) = marks_of(heat, level=0.5, size_hw=(80, 80))
    (mark,) = marks_of(heat, level=0.5, size_hw=(80, 80), pixels=pixels, refine=refine)
    assert mark.mask.sum() <= 3 * plain.mask.sum(), "what runs away is not believed"
    if not mark.is_refined:
        assert mark.box_xyxy == plain.box_xyxy and np.array_equal(mark.mask, plain.mask)


def test_the_rule_for_running_away():
    place = disc((40, 40), (20, 20), 6)
    assert not runs_away(place, place)
    assert runs_away(np.ones((40, 40), bool), place), "too large"
    assert runs_away(np.zeros((40, 40), bool), place), "nothing left"
    assert runs_away(disc((40, 40), (5, 5), 4), place), "elsewhere"
    frame = np.ones((20, 20), bool)
    frame[4:16, 4:16] = False
    frame[10, 4] = True
    inner = np.zeros((20, 20), bool)
    inner[2:18, 2:10] = True
    assert runs_away(frame, inner), "along the whole rim"


def test_a_place_that_fills_its_window_is_left_alone():
    window = Window(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), np.float32), np.ones((20, 20), bool))
    assert refined(window, Refine.GRABCUT) is None and refined(window, Refine.WALKER) is None


def test_windows_are_cut_at_the_pictures_edges():
    assert window_xyxy((2, 3, 12, 23), (100, 50)) == (0, 0, 20, 33)
    assert window_xyxy((0, 0, 50, 100), (100, 50)) == (0, 0, 50, 100)


def test_what_does_not_fit_is_refused():
    heat = bump((8, 8), (4, 4), 2, 1.0)
    with pytest.raises(ValueError, match="needs the photograph's pixels"):
        marks_of(heat, level=0.5, size_hw=(16, 16), refine=Refine.GRABCUT)
    with pytest.raises(ValueError, match="NaN"):
        marks_of(np.full((8, 8), np.nan, np.float32), level=0.5, size_hw=(16, 16))
    with pytest.raises(ValueError, match="not empty"):
        Window(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))
