"""Marks at a photograph's own pixels: which of them a heat map calls odd, place by place.

A limit that decides between OK and NG is set by what good parts reach at their highest; it says little about
where a flaw ends. So how far down a mark reaches has rules of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from flawscope.imaging.refine import Refine, Window, refined, window_xyxy
from flawscope.imaging.regions import components

MOST_PLACES = 50  # in one photograph


class Reach(StrEnum):
    """How far down a mark reaches: to the bundle's pixel limit, to a share of the photograph's own peak, or
    to a share of the way from the map's median up to its peak."""

    PIXEL = "pixel"
    PEAK = "peak"
    RISE = "rise"


# measured by benchmarks/annotate_on_tiles.py on parts that do not test
SHARES = {Reach.PIXEL: 1.0, Reach.PEAK: 0.8, Reach.RISE: 0.2}


@dataclass(frozen=True)
class Level:
    """The value of the map above which pixels are marked, and the rule that gave it."""

    value: float
    reach: Reach


@dataclass(frozen=True, eq=False)
class Mark:
    """One marked place of a photograph."""

    box_xyxy: tuple[int, int, int, int]
    mask: np.ndarray  # bool, of the box's size; touches each of its edges
    peak: float  # of the map
    mean: float
    is_refined: bool  # drawn after the photograph; False where that was not asked for or ran away


def level_of(heat: np.ndarray, *, pixel_limit: float, reach: Reach, share: float) -> Level:
    """Return down to where a map float32 (h, w) is marked.

    Where nothing lies above the pixel limit, or the map has no zero to take a share from (its median is not
    above 0), the rise from median to peak takes the rule's place, so that a photograph that is not OK is
    never left without a mark. `share` (0 to 1) is the rule's own.
    """
    peak, middle = float(heat.max()), float(np.median(heat))
    if reach is Reach.PIXEL and peak > pixel_limit:
        return Level(pixel_limit, reach)
    if reach is Reach.PEAK and middle > 0:
        return Level(share * peak, reach)
    rise = share if reach is Reach.RISE else SHARES[Reach.RISE]
    value = middle + rise * (peak - middle)
    return Level(min(value, float(np.nextafter(np.float32(peak), np.float32(-np.inf)))), Reach.RISE)


def marks_of(
    heat: np.ndarray,
    *,
    level: float,
    size_hw: tuple[int, int],
    min_area_px: int = 0,
    pixels: np.ndarray | None = None,
    refine: Refine = Refine.NONE,
) -> tuple[Mark, ...]:
    """Return the connected places of a map float32 (h, w) above `level` in the pixels of a photograph of
    `size_hw`, hottest first, at most 50, each refined on `pixels` uint8 (H, W, 3) if that is asked for.

    Places of fewer than `min_area_px` pixels are left out, unless that leaves none: then the hottest stays.
    Raises ValueError for a map with NaN, and where there is something to refine and no pixels.
    """
    if refine is not Refine.NONE and (pixels is None or pixels.shape[:2] != size_hw):
        raise ValueError(f"refining needs the photograph's pixels, {size_hw}")
    full = cv2.resize(heat.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    # between its cells a map is never above them: what the peak's own cell says is not lost to rounding
    level = min(level, float(np.nextafter(full.max(), np.float32(-np.inf))))
    found = components(full, threshold=level)
    if found is None:
        return ()
    order = found.hottest_first()
    kept = [i for i in order if found.boxes[i, cv2.CC_STAT_AREA] >= min_area_px] or order[:1]
    marks = []
    for i in kept[:MOST_PLACES]:
        left, top, width, height, count = found.boxes[i].tolist()
        cells = found.labels[top : top + height, left : left + width] == i
        left, top = left + found.at_xy[0], top + found.at_xy[1]
        box = (left, top, left + width, top + height)
        mark = Mark(box, cells, float(found.peaks[i]), float(found.sums[i] / count), False)
        if pixels is not None and refine is not Refine.NONE:
            mark = _redrawn(mark, full, pixels, refine)
        marks.append(mark)
    return tuple(marks)


def _redrawn(mark: Mark, heat: np.ndarray, pixels: np.ndarray, refine: Refine) -> Mark:
    """Return the mark as the photograph has it, or as it was where that cannot be believed."""
    left, top, right, bottom = window_xyxy(mark.box_xyxy, heat.shape)
    place = np.zeros((bottom - top, right - left), bool)
    x, y = mark.box_xyxy[0] - left, mark.box_xyxy[1] - top
    place[y : y + mark.mask.shape[0], x : x + mark.mask.shape[1]] = mark.mask
    around = slice(top, bottom), slice(left, right)
    drawn = refined(Window(pixels[around], heat[around], place), refine)
    if drawn is None:
        return mark
    column, row, width, height = cv2.boundingRect(np.ascontiguousarray(drawn).view(np.uint8))
    box = (left + column, top + row, left + column + width, top + row + height)
    inside = heat[around][drawn]
    cut = drawn[row : row + height, column : column + width].copy()
    return Mark(box, cut, float(inside.max()), float(inside.mean()), True)
