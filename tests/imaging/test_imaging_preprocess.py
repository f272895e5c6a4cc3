"""Canvases and maps: sizes, boxes, and the way back to the same pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core.errors import UsageError
from flawscope.core.types import Area, Fit, Image, Merge, Preprocess
from flawscope.imaging.preprocess import (
    Canvases,
    MapMerger,
    iter_canvases,
    judged_cells,
    merge_maps,
    plan_canvas,
    plan_size,
    tile_windows,
    to_canvases,
)

SIDES = st.integers(1, 260)


def _noise(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("size", "planned"),
    [
        ((1000, 1000), (224, 224)),
        ((2000, 1000), (320, 160)),
        ((1000, 2000), (160, 320)),
        ((768, 1024), (192, 256)),
        ((1080, 1920), (160, 288)),
        ((2300, 1000), (288, 128)),
    ],
)
def test_planned_sizes(size: tuple[int, int], planned: tuple[int, int]) -> None:
    assert plan_size([size]) == planned


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=9),
    st.integers(1024, 10**6),
)
@settings(deadline=None, max_examples=60)
def test_planned_size_is_the_best_within_its_budget(sizes: list[tuple[int, int]], budget: int) -> None:
    height, width = plan_size(sizes, budget_px=budget)
    assert height % 32 == 0 and width % 32 == 0 and height * width <= 1.05 * budget
    aspect = sorted(math.log(h / w) for h, w in sizes)
    middle = (aspect[(len(aspect) - 1) // 2] + aspect[len(aspect) // 2]) / 2

    def cost(h: int, w: int) -> float:
        return abs(math.log(h / w) - middle) + 0.25 * abs(math.log(budget / (h * w)))

    for h, w in ((height + 32, width), (height - 32, width), (height, width + 32), (height, width - 32)):
        if min(h, w) >= 32 and max(h, w) <= 4096 and h * w <= 1.05 * budget:
            assert cost(height, width) <= cost(h, w) + 1e-8
    turned = plan_size([(w, h) for h, w in sizes], budget_px=budget)
    assert cost(*turned[::-1]) == pytest.approx(cost(height, width))


def test_planning_needs_sizes_and_a_budget() -> None:
    for sizes, budget in (([], 50_000), ([(9, 9)], 500), ([(0, 9)], 50_000)):
        with pytest.raises(UsageError):
            plan_size(sizes, budget_px=budget)


def test_stretch_of_the_same_size_changes_nothing() -> None:
    image = _noise(64, 96)
    canvases = to_canvases(image, Preprocess((64, 96), Fit.STRETCH))
    assert np.array_equal(canvases.pixels[0], image.pixels)
    assert canvases.content_xyxy.tolist() == [[0, 0, 96, 64]]


def test_shrinking_averages() -> None:
    board = np.zeros((256, 256, 3), np.uint8)
    board[::2, 1::2] = board[1::2, ::2] = 255
    pixels = to_canvases(Image(board), Preprocess((32, 32), Fit.STRETCH)).pixels
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_an_axis_that_grows_beside_one_that_shrinks() -> None:
    image = Image(np.tile(np.uint8([0, 255]).reshape(1, 2, 1), (8, 64, 3)))
    pixels = to_canvases(image, Preprocess((64, 32), Fit.STRETCH)).pixels
    assert np.abs(pixels.astype(int) - 127).max() <= 1


@given(SIDES, SIDES)
@settings(deadline=None, max_examples=40)
def test_letterbox_keeps_the_aspect_and_fills_its_box(height: int, width: int) -> None:
    preprocess = Preprocess((96, 128))
    canvases = to_canvases(Image(np.full((height, width, 3), 255, np.uint8)), preprocess)
    left, top, right, bottom = canvases.content_xyxy[0].astype(int)
    assert 0 <= left < right <= 128 and 0 <= top < bottom <= 96
    scale = min(96 / height, 128 / width)
    assert abs((right - left) - width * scale) <= max(0.5, 1 - width * scale)
    assert abs((bottom - top) - height * scale) <= max(0.5, 1 - height * scale)
    assert abs(left - (128 - right)) <= 1 and abs(top - (96 - bottom)) <= 1
    inside = np.zeros((96, 128), bool)
    inside[top:bottom, left:right] = True
    assert (canvases.pixels[0][inside] == 255).all()
    assert (canvases.pixels[0][~inside] == (124, 116, 104)).all()


@given(SIDES, SIDES, st.floats(0, 0.75), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_tiles_cover_everything_with_the_image_s_own_pixels(
    height: int, width: int, overlap: float, batch: int
) -> None:
    image = _noise(height, width)
    preprocess = Preprocess((64, 96), Fit.TILES, tile_overlap=overlap)
    rebuilt = np.zeros_like(image.pixels)
    covered = np.zeros((height, width), bool)
    seen = 0
    for canvases in iter_canvases(image, preprocess, batch=batch):
        assert 1 <= len(canvases) <= batch
        seen += len(canvases)
        for pixels, content, window in zip(
            canvases.pixels, canvases.content_xyxy.astype(int), canvases.windows_xyxy, strict=True
        ):
            left, top, right, bottom = window
            c = content
            rebuilt[top:bottom, left:right] = pixels[c[1] : c[3], c[0] : c[2]]
            covered[top:bottom, left:right] = True
            assert height < 64 or bottom - top == 64
    assert covered.all() and np.array_equal(rebuilt, image.pixels)
    assert seen == len(tile_windows(image.size_hw, preprocess))


@given(SIDES, SIDES, st.sampled_from(list(Merge)), st.sampled_from([1, 2, 4, 8]), st.floats(0, 0.75))
@settings(deadline=None, max_examples=60)
def test_merged_tiles_show_each_place_where_it_is(
    height: int, width: int, merge: Merge, cell: int, overlap: float
) -> None:
    preprocess = Preprocess((64, 96), Fit.TILES, tile_merge=merge, tile_overlap=overlap)
    image = _noise(height, width)
    canvases = to_canvases(image, preprocess)
    rows, columns = (np.arange(64 // cell) + 0.5) * cell, (np.arange(96 // cell) + 0.5) * cell
    for axis, centres in ((0, rows[:, None]), (1, columns[None])):
        start = canvases.windows_xyxy[:, 1 - axis].astype(np.float32)
        maps = np.broadcast_to(start[:, None, None] + centres, (len(canvases), 64 // cell, 96 // cell))
        merged = merge_maps(maps.astype(np.float32), canvases, preprocess)
        size = image.size_hw[axis]
        told = (np.arange(merged.shape[axis]) + 0.5) * size / merged.shape[axis]
        told = told[:, None] if axis == 0 else told[None]
        assert np.abs(merged - told).max() <= cell + 1e-3  # a place is within one cell of where the map says


@given(SIDES, SIDES, st.sampled_from([1, 2, 4, 8]), st.sampled_from([Fit.LETTERBOX, Fit.TILES, Fit.STRETCH]))
@settings(deadline=None, max_examples=80)
def test_padding_never_appears(height: int, width: int, cell: int, fit: Fit) -> None:
    preprocess = Preprocess((64, 96), fit)
    canvases = to_canvases(_noise(height, width), preprocess)
    y, x = np.mgrid[: 64 // cell, : 96 // cell] * cell + cell / 2
    maps = np.zeros((len(canvases), 64 // cell, 96 // cell), np.float32)
    for map_, (left, top, right, bottom) in zip(maps, canvases.content_xyxy, strict=True):
        map_[(y < top) | (y >= bottom) | (x < left) | (x >= right)] = 9
    content = canvases.content_xyxy[:, 2:] - canvases.content_xyxy[:, :2]
    if content.min() >= cell:  # thinner pictures than a cell get the one cell that they are in
        assert merge_maps(maps, canvases, preprocess).max() == 0


@given(st.integers(20, 200), st.integers(20, 200), st.sampled_from([1, 4, 8]))
@settings(deadline=None, max_examples=60)
def test_letterboxed_places_come_back_within_a_cell(height: int, width: int, cell: int) -> None:
    preprocess = Preprocess((96, 96))
    canvases = to_canvases(_noise(height, width), preprocess)
    _, top, _, bottom = canvases.content_xyxy[0]
    y = (np.arange(96 // cell) + 0.5) * cell
    maps = np.broadcast_to(((y - top) * height / (bottom - top))[:, None], (96 // cell, 96 // cell))
    merged = merge_maps(maps[None].astype(np.float32), canvases, preprocess)
    told = (np.arange(len(merged)) + 0.5) * height / len(merged)
    assert np.abs(merged - told[:, None]).max() <= cell * height / (bottom - top) + 1e-3


def test_merging_against_the_slow_way() -> None:
    random = np.random.default_rng(5)
    image = _noise(130, 100)
    for merge in Merge:
        preprocess = Preprocess((64, 64), Fit.TILES, tile_merge=merge)
        canvases = to_canvases(image, preprocess)
        maps = random.random((len(canvases), 64, 64)).astype(np.float32)
        slow = np.zeros((130, 100))
        for y in range(130):
            for x in range(100):
                values, weights = [], []
                for map_, (left, top, right, bottom) in zip(maps, canvases.windows_xyxy, strict=True):
                    if left <= x < right and top <= y < bottom:
                        values.append(map_[y - top, x - left])
                        hat = [1 - abs(place - 31.5) / 32.5 for place in (y - top, x - left)]
                        weights.append(hat[0] * hat[1])
                slow[y, x] = max(values) if merge is Merge.MAX else np.average(values, weights=weights)
        assert np.allclose(merge_maps(maps, canvases, preprocess), slow, atol=1e-5)


def test_chunks_merge_as_the_whole_does() -> None:
    image, preprocess = _noise(200, 300), Preprocess((64, 64), Fit.TILES, tile_merge=Merge.MEAN)
    maps = (
        np.random.default_rng(0)
        .random((len(tile_windows(image.size_hw, preprocess)), 16, 16))
        .astype(np.float32)
    )
    merger, start = MapMerger(preprocess, image.size_hw), 0
    for chunk in iter_canvases(image, preprocess, batch=4):
        merger.add(maps[start : start + len(chunk)], chunk)
        start += len(chunk)
    assert np.array_equal(merger.result(), merge_maps(maps, to_canvases(image, preprocess), preprocess))


def _left_half() -> Area:
    judged = np.zeros((10, 10), bool)
    judged[:, :5] = True
    return Area(judged)


@pytest.mark.parametrize("fit", list(Fit))
def test_what_is_not_judged_is_zero(fit: Fit) -> None:
    image, preprocess = _noise(120, 400), Preprocess((64, 64), fit, area=_left_half())
    canvases = to_canvases(image, preprocess)
    maps = np.full((len(canvases), 16, 16), -3, np.float32)
    merger = MapMerger(preprocess, image.size_hw)
    merger.add(maps, canvases)
    merged = merger.result()
    middle = merged.shape[1] // 2
    assert (merged[:, : middle - 1] == -3).all() and (merged[:, middle + 1 :] == 0).all()


@pytest.mark.parametrize("fit", list(Fit))
def test_what_is_not_judged_never_reaches_a_canvas(fit: Fit) -> None:
    image, preprocess = _noise(150, 410), Preprocess((64, 64), fit, area=_left_half())
    before = image.pixels.copy()
    other = image.pixels.copy()
    other[:, 205:] = 255 - other[:, 205:]
    canvases, changed = to_canvases(image, preprocess), to_canvases(Image(other), preprocess)
    assert np.array_equal(canvases.pixels, changed.pixels)
    assert np.array_equal(image.pixels, before)
    other[:, :205] = 255 - other[:, :205]
    assert not np.array_equal(canvases.pixels, to_canvases(Image(other), preprocess).pixels)


def test_tiles_outside_the_area_are_left_out() -> None:
    whole, half = Preprocess((64, 64), Fit.TILES), Preprocess((64, 64), Fit.TILES, area=_left_half())
    everything, judged = tile_windows((64, 640), whole), tile_windows((64, 640), half)
    assert len(judged) < len(everything)
    assert judged[:, 0].max() < 320 <= everything[:, 0].max()


def test_a_tiny_area_is_never_lost() -> None:
    judged = np.zeros((512, 512), bool)
    judged[100, 100] = True
    cells = judged_cells(Area(judged), (8, 8))
    assert cells is not None and np.argwhere(cells).tolist() == [[1, 1]]


def test_flipping_the_image_flips_the_tiles() -> None:
    image, preprocess = _noise(64, 300), Preprocess((64, 64), Fit.TILES, tile_overlap=0)
    flipped = to_canvases(Image(np.ascontiguousarray(image.pixels[:, ::-1])), preprocess)
    for pixels, (left, _, right, _) in zip(flipped.pixels, flipped.windows_xyxy, strict=True):
        assert np.array_equal(pixels[:, ::-1], image.pixels[:, 300 - right : 300 - left])


def test_letterbox_agrees_with_opencv() -> None:
    image = _noise(200, 100)
    pixels = to_canvases(image, Preprocess((64, 64))).pixels[0]
    assert np.array_equal(pixels[:, 16:48], cv2.resize(image.pixels, (32, 64), interpolation=cv2.INTER_AREA))


def test_maps_of_another_image_are_refused() -> None:
    preprocess = Preprocess((64, 64), Fit.TILES)
    canvases = to_canvases(_noise(64, 64), preprocess)
    with pytest.raises(ValueError, match="do not belong"):
        MapMerger(preprocess, (64, 65)).add(np.zeros((1, 8, 8), np.float32), canvases)
    with pytest.raises(ValueError, match="no map"):
        MapMerger(preprocess, (64, 64)).result()
    assert isinstance(canvases, Canvases)
    with pytest.raises(UsageError):
        next(iter_canvases(_noise(64, 64), preprocess, batch=0))


def test_pictures_of_one_shape_get_a_canvas_of_that_shape() -> None:
    assert plan_canvas([(480, 640)] * 20) == ((192, 256), None)
    assert plan_canvas([(480, 640)] * 18 + [(500, 640), (460, 640)]) == ((192, 256), None)


def test_pictures_of_many_shapes_get_one_area_each() -> None:
    sizes = [(100, 230), (230, 100), (200, 200), (150, 200), (200, 150)] * 8
    canvas_hw, content_px = plan_canvas(sizes)
    assert content_px == 224 * 224
    assert canvas_hw[0] % 32 == canvas_hw[1] % 32 == 0 and canvas_hw[0] * canvas_hw[1] <= 2.7 * content_px
    areas = []
    for height, width in sizes[:5]:
        preprocess = Preprocess(canvas_hw, Fit.LETTERBOX, content_px=content_px)
        left, top, right, bottom = to_canvases(_noise(height, width), preprocess).content_xyxy[0]
        assert (bottom - top) / (right - left) == pytest.approx(height / width, rel=0.02)
        areas.append((right - left) * (bottom - top))
    assert max(areas) <= 1.02 * content_px and min(areas) >= 0.9 * content_px
