"""Connected odd places of a map, told in the pixels of the image as it came."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Region

_CONTOUR_TOLERANCE = 0.75  # map cells by which a simplified outline may stray


@dataclass(frozen=True, eq=False)
class Components:
    """The connected places (8 neighbours) of a map above a threshold, numbered from 1 within the part of the
    map that holds them all."""

    labels: np.ndarray  # int32 (h, w); 0 is no place
    boxes: np.ndarray  # int32 (n + 1, 5): left, top, width, height, cells, relative to `at_xy`
    peaks: np.ndarray  # (n + 1,) of the map; the first is of no place
    sums: np.ndarray  # float64 (n + 1,)
    at_xy: tuple[int, int]  # where `labels` begins in the map

    def hottest_first(self) -> list[int]:
        """Return the numbers of the places, highest peak first."""
        order = np.argsort(-self.peaks, kind="stable")
        return [int(i) for i in order if i > 0]


def components(heat: np.ndarray, *, threshold: float) -> Components | None:
    """Label the places of a map float32 (h, w) that lie above `threshold`; None where there is none. Raises
    ValueError for a map with NaN."""
    peak = float(heat.max())
    if np.isnan(peak):
        raise ValueError("a map must not hold NaN")
    if not peak > threshold:
        return None
    over = heat > threshold
    left, top, width, height = cv2.boundingRect(over.view(np.uint8))
    place = slice(top, top + height), slice(left, left + width)  # labelling costs by the pixel
    heat, over = heat[place], np.ascontiguousarray(over[place])
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(over.view(np.uint8), connectivity=8)
    at = np.flatnonzero(over)
    owners, values = labels.ravel()[at], heat.ravel()[at]
    peaks = np.full(count, -np.inf, heat.dtype)
    np.maximum.at(peaks, owners, values)
    return Components(labels, boxes, peaks, np.bincount(owners, values, minlength=count), (left, top))


def find_regions(
    heat: np.ndarray,
    *,
    threshold: float,
    size_hw: tuple[int, int],
    min_area_px: int = 0,
    limit: int = 50,
) -> tuple[Region, ...]:
    """Return the connected places (8 neighbours) of a map float32 (h, w) that lie above `threshold`, highest
    peak first, at most `limit`.

    `size_hw` is the image's size; boxes (right and bottom exclusive), outlines and areas are in its pixels.
    Places smaller than `min_area_px` are left out. Raises ValueError for a map with NaN.
    """
    found = components(heat, threshold=threshold)
    if found is None:
        return ()
    scale_y, scale_x = size_hw[0] / heat.shape[0], size_hw[1] / heat.shape[1]
    shift_x, shift_y = found.at_xy
    cells_of = found.boxes[:, cv2.CC_STAT_AREA]
    areas = np.maximum(1, np.rint(cells_of * (scale_y * scale_x))).astype(np.int64)
    kept = [i for i in found.hottest_first() if areas[i] >= min_area_px][:limit]
    regions = []
    for i in kept:
        left, top, width, height, cells = found.boxes[i].tolist()
        place = slice(top, top + height), slice(left, left + width)
        left, top = left + shift_x, top + shift_y
        box = (
            int(left * scale_x),
            int(top * scale_y),
            min(size_hw[1], math.ceil((left + width) * scale_x)),
            min(size_hw[0], math.ceil((top + height) * scale_y)),
        )
        outline = _outline(found.labels[place] == i, box)
        regions.append(
            Region(box, outline, int(areas[i]), float(found.peaks[i]), float(found.sums[i] / cells))
        )
    return tuple(regions)


def _outline(cells: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> tuple[tuple[int, int], ...]:
    """Return the simplified outline of one place, bool (h, w), spread so that it touches its box's edges;
    places one cell wide get the box itself."""
    left, top, right, bottom = box_xyxy
    height, width = cells.shape
    if height > 1 and width > 1:
        contours, _ = cv2.findContours(cells.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        corners = cv2.approxPolyDP(contours[0], _CONTOUR_TOLERANCE, True)[:, 0]
        if len(corners) > 2:
            stretch_x, stretch_y = (right - 1 - left) / (width - 1), (bottom - 1 - top) / (height - 1)
            return tuple(
                (round(left + x * stretch_x), round(top + y * stretch_y)) for x, y in corners.tolist()
            )
    return (left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1)
