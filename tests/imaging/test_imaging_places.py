"""Where cells of canvases lie in the photograph, and where maps peak."""

from __future__ import annotations

import numpy as np
import pytest

from flawscope.core.types import Area, Fit, Image, Preprocess
from flawscope.imaging.peaks import find_peaks
from flawscope.imaging.places import positions
from flawscope.imaging.preprocess import to_canvases


@pytest.mark.parametrize("fit", list(Fit))
def test_cells_lie_where_their_pixels_come_from(fit):
    """A picture whose colours tell the place, read back at the cells' centres."""
    height, width = 90, 150
    rows, columns = np.mgrid[:height, :width]
    pixels = np.dstack([columns * 255 / width, rows * 255 / height, np.zeros_like(rows)]).astype(np.uint8)
    preprocess = Preprocess((64, 96), fit)
    canvases = to_canvases(Image(pixels), preprocess)
    where = positions(canvases, (16, 24), preprocess.size_hw)
    assert where.boxes_xyxy.shape == (len(canvases), 16, 24, 4)
    assert where.shown.any((1, 2)).all()
    for canvas, row, column in np.argwhere(where.shown).tolist():
        left, top, right, bottom = where.boxes_xyxy[canvas, row, column]
        seen = canvases.pixels[canvas, 4 * row + 2, 4 * column + 2, :2] / 255
        assert seen == pytest.approx([(left + right) / 2, (top + bottom) / 2], abs=0.035)
    if fit is Fit.LETTERBOX:
        assert not where.shown[0, 0].any() and where.shown[0, 8].all()


def test_cells_outside_the_area_are_not_shown():
    judged = np.zeros((2, 2), bool)
    judged[0, 1] = True
    preprocess = Preprocess((64, 64), Fit.STRETCH)
    canvases = to_canvases(Image(np.zeros((50, 70, 3), np.uint8)), preprocess)
    shown = positions(canvases, (4, 4), preprocess.size_hw, area=Area(judged)).shown[0]
    wanted = np.zeros((4, 4), bool)
    wanted[:2, 2:] = True
    assert (shown == wanted).all()


def test_peaks_are_the_highest_places_apart_from_each_other():
    heat = np.zeros((100, 224), np.float32)
    heat[10, 20], heat[12, 24], heat[80, 200], heat[50, 100] = 5, 4, 3, 0.5
    assert find_peaks(heat, least=1.0) == [(10, 20, 5.0), (80, 200, 3.0)]
    assert find_peaks(heat, least=1.0, most=1) == [(10, 20, 5.0)]
    assert find_peaks(np.zeros((9, 9), np.float32), least=0.0) == []


def test_a_plateau_has_few_peaks():
    found = find_peaks(np.ones((30, 30), np.float32), least=0.5)
    assert len(found) == 5 and found[0][:2] == (0, 0)
