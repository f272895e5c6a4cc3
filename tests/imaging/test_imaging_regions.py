"""Regions against scipy, areas from files, and the colours of overlays."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from flawscope.core.errors import ConfigError
from flawscope.core.types import Image
from flawscope.imaging.area import load_area
from flawscope.imaging.overlay import heat_rgba, legend, overlay
from flawscope.imaging.regions import find_regions
from flawscope.imaging.write import write_image


@given(
    st.integers(0, 10_000), st.floats(0.5, 0.999), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20)
)
@settings(deadline=None, max_examples=60)
def test_regions_agree_with_scipy(seed: int, threshold: float, height: int, width: int, least: int) -> None:
    heat = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    scale = 3
    found = find_regions(
        heat, threshold=threshold, size_hw=(height * scale, width * scale), min_area_px=least, limit=10**6
    )
    labels, count = ndimage.label(heat > threshold, np.ones((3, 3)))
    expected = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        values = heat[labels == i]
        if values.size * scale**2 >= least:
            box = (columns.start, rows.start, columns.stop, rows.stop)
            expected.append(
                (float(values.max()), tuple(scale * v for v in box), values.size * scale**2, values.mean())
            )
    expected.sort(key=lambda entry: -entry[0])
    assert len(found) == len(expected) <= count
    for region, (peak, box, area, mean) in zip(found, expected, strict=True):
        assert (region.peak, region.box_xyxy, region.area_px) == (peak, box, area)
        assert region.mean == pytest.approx(mean, rel=1e-5)
        x, y = np.array(region.contour).T
        left, top, right, bottom = box
        assert left <= x.min() and x.max() < right and top <= y.min() and y.max() < bottom


def test_outline_follows_the_place() -> None:
    heat = np.zeros((100, 100), np.float32)
    cv2.circle(heat, (40, 60), 20, 1.0, -1)
    (region,) = find_regions(heat, threshold=0.5, size_hw=(400, 400))
    drawn = cv2.fillPoly(np.zeros((400, 400), np.uint8), [np.array(region.contour, np.int32)], 1) > 0
    truth = cv2.resize(heat, (400, 400), interpolation=cv2.INTER_NEAREST) > 0.5
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.95
    assert len(region.contour) < 40


def test_at_the_limit_is_not_over_it_and_nothing_is_empty() -> None:
    heat = np.full((8, 8), 0.5, np.float32)
    assert find_regions(heat, threshold=0.5, size_hw=(80, 80)) == ()
    (region,) = find_regions(heat, threshold=0.49, size_hw=(80, 81))
    assert region.box_xyxy == (0, 0, 81, 80) and region.area_px == 6480
    assert len(find_regions(np.eye(50, dtype=np.float32)[:, ::-1] * 1, threshold=0.5, size_hw=(50, 50))) == 1
    spots = np.zeros((20, 20), np.float32)
    spots[::2, ::2] = np.arange(1, 101).reshape(10, 10)
    top = find_regions(spots, threshold=0.5, size_hw=(20, 20), limit=3)
    assert [region.peak for region in top] == [100, 99, 98]


def test_a_map_with_nan_is_refused() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        find_regions(heat, threshold=0.5, size_hw=(4, 4))


def test_area_of_two_images(tmp_path: Path) -> None:
    roi, ignore = np.zeros((100, 200), np.uint8), np.zeros((50, 50), np.uint8)
    roi[:, :100] = 1
    ignore[:25] = 255
    write_image(tmp_path / "roi.png", roi)
    write_image(tmp_path / "ignore.png", ignore)
    area = load_area(tmp_path / "roi.png", tmp_path / "ignore.png", size_hw=(64, 64))
    assert area is not None
    expected = np.zeros((64, 64), bool)
    expected[32:, :32] = True
    assert np.array_equal(area.judged, expected)
    assert load_area(None, None) is None
    with pytest.raises(ConfigError, match="nothing to judge"):
        load_area(tmp_path / "roi.png", tmp_path / "roi.png")


@pytest.mark.parametrize("relative", [True, False])
def test_area_of_polygons(tmp_path: Path, relative: bool) -> None:
    square = [[0.25, 0.5], [0.75, 0.5], [0.75, 1], [0.25, 1]]
    values = (
        [square, square]
        if relative
        else {"size_wh": [40, 20], "polygons": [[[x * 40, y * 20] for x, y in square]]}
    )
    (tmp_path / "roi.json").write_text(json.dumps(values))
    area = load_area(tmp_path / "roi.json", None, size_hw=(64, 64))
    assert area is not None
    rows, columns = np.nonzero(area.judged)
    assert abs(rows.min() - 32) <= 1 and rows.max() == 63
    assert abs(columns.min() - 16) <= 1 and abs(columns.max() - 47) <= 1
    assert area.judged[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        '{"polygons": []}',
        "[[[0, 0], [1, 1]]]",
        "[[[0, 0], [9, 0], [9, 9]]]",
        '[["a", "b", "c"]]',
        "[[]]",
    ],
)
def test_polygon_files_that_mean_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "roi.json").write_text(text)
    with pytest.raises(ConfigError, match=r"roi\.json"):
        load_area(tmp_path / "roi.json", None)


def test_a_good_part_stays_plain_and_the_scale_is_absolute() -> None:
    image = Image(np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8))
    quiet = np.full((25, 35), 0.4, np.float32)
    assert np.array_equal(overlay(image, quiet, limit=1.0, review=None, regions=()), image.pixels)
    loud = quiet.copy()
    loud[:, :10] = 1.7
    shown = overlay(image, loud, limit=1.0, review=0.8, regions=())
    assert np.array_equal(shown[:, 30:], image.pixels[:, 30:])
    assert not np.array_equal(shown[:, :15], image.pixels[:, :15])
    colours = heat_rgba(np.float32([[1.0, 2.0, 0.1]]), limit=1.0, review=0.5)
    alone = heat_rgba(np.float32([[1.0]]), limit=1.0, review=0.5)
    assert np.array_equal(colours[0, 0], alone[0, 0])
    assert colours[0, :, 3].tolist() == [153, 153, 0]
    assert colours[0, 1, :3].sum() > colours[0, 0, :3].sum()
    blended = overlay(image, np.full((50, 70), 2, np.float32), limit=1.0, review=None, regions=(), opacity=1)
    assert (blended == colours[0, 1, :3]).all()


def test_outlines_are_white_on_black() -> None:
    image = Image(np.full((60, 60, 3), 128, np.uint8))
    heat = np.zeros((60, 60), np.float32)
    heat[20:40, 20:40] = 1
    regions = find_regions(heat, threshold=0.5, size_hw=(60, 60))
    shown = overlay(image, np.zeros((60, 60), np.float32), limit=1.0, review=None, regions=regions)
    assert shown[30, 20].min() > 200 and shown[30, 19].max() < 60 and (shown[30, 30] == 128).all()
    assert (image.pixels == 128).all()


def test_legend_has_the_scale_s_ends() -> None:
    bar = legend(200)
    assert bar.shape == (200, 64, 3)
    top, bottom = bar[10, 10], bar[189, 10]
    ends = heat_rgba(np.float32([[2.0, 0.0]]), limit=1.0, review=0.0)[0, :, :3]
    assert np.array_equal(np.array([top, bottom]), ends)
    with pytest.raises(ValueError, match="64 or more"):
        legend(20)


def test_quiet_maps_cost_next_to_nothing() -> None:
    heat = np.random.default_rng(0).random((224, 224)).astype(np.float32)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        find_regions(heat, threshold=2.0, size_hw=(500, 500))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3e-3
