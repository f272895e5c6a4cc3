"""Masks as polygons and back, exactly: outlines run along the edges of pixels, corners are whole numbers.

A pixel in column x and row y is the square from (x, y) to (x + 1, y + 1). What touches at a corner is one
region. A hole is joined to its outline by a bridge that is gone over twice, so that one ring tells a region:
an even-odd fill (ours, that of COCO's tools) gives the same pixels back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

Ring = tuple[tuple[float, float], ...]  # (x, y) corners, not closed

_FAITHFUL = 0.9  # share of overlap below which a simplified outline is not worth its shortness


def outlines(mask: np.ndarray, *, tolerance_px: float = 0.0) -> tuple[Ring, ...]:
    """Return one ring for each connected region (8 neighbours) of a mask bool (H, W).

    With a `tolerance_px` above 0 corners are left out where the outline strays no further than that; a region
    whose simplified outline overlaps its pixels by less than 0.9 (intersection over union) keeps all its
    corners.
    """
    cells = np.ascontiguousarray(mask, dtype=np.uint8)
    if not cells.any():
        return ()
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    found = []
    for i in range(1, count):
        left, top, width, height, _ = boxes[i].tolist()
        region = labels[top : top + height, left : left + width] == i
        ring = _ring(region, tolerance_px)
        found.append(tuple((x + left, y + top) for x, y in ring))
    return tuple(found)


def filled(rings: Sequence[Sequence[Sequence[float]]], size_hw: tuple[int, int]) -> np.ndarray:
    """Return the union of rings as a mask bool (H, W): the pixels whose middle lies inside one of them by the
    even-odd rule. Of a ring so thin that it holds no middle, the pixel at its own middle is taken."""
    height, width = size_hw
    mask = np.zeros(size_hw, bool)
    for ring in rings:
        corners = np.asarray(ring, np.float64).reshape(-1, 2)
        if len(corners) < 3 or not np.isfinite(corners).all():
            raise ValueError("a polygon needs three corners or more, all of them numbers")
        inside = _inside(corners, size_hw)
        if inside is None:
            x, y = (corners.min(0) + corners.max(0)) / 2
            mask[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)] = True
        else:
            top, rows = inside
            mask[top : top + len(rows)] |= rows
    return mask


def _inside(corners: np.ndarray, size_hw: tuple[int, int]) -> tuple[int, np.ndarray] | None:
    """Return the first row and the filled rows of one ring, or None where no pixel's middle is inside."""
    height, width = size_hw
    start, end = corners, np.roll(corners, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)  # rows whose middle lies in [low, high)
    beyond = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    spans = beyond - first
    if not spans.any():
        return None
    top, bottom = int(first[spans > 0].min()), int(beyond[spans > 0].max())
    edge = np.repeat(np.arange(len(corners)), spans)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans, spans) + first[edge]
    slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
    crossing = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    toggles = np.zeros((bottom - top, width + 1), np.int32)
    np.add.at(toggles, (row - top, column), 1)
    rows = (np.cumsum(toggles[:, :width], axis=1) % 2).astype(bool)
    return (top, rows) if rows.any() else None


def _ring(region: np.ndarray, tolerance_px: float) -> Ring:
    """Return the one ring of a connected region bool (h, w)."""
    rings = _rings(region)
    exact = _joined(rings)
    if tolerance_px <= 0:
        return exact
    shorter = [
        cv2.approxPolyDP(np.array(ring, np.int32), tolerance_px, True)[:, 0].tolist() for ring in rings
    ]
    outer, holes = shorter[0], [hole for hole in shorter[1:] if len(hole) > 2]
    if len(outer) < 3:
        return exact
    ring = _joined([outer, *holes])
    drawn = filled([ring], region.shape)
    shared, either = np.count_nonzero(drawn & region), np.count_nonzero(drawn | region)
    return ring if shared >= _FAITHFUL * either else exact


def _rings(region: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return the closed edges of a connected region, the outer one first: corners only, region at the right
    hand."""
    onward = _edges(region)
    rings = []
    while onward:
        start = next(iter(onward))
        rings.append(_traced(onward, start))
    rings.sort(key=_area, reverse=True)  # holes run the other way round: their area is negative
    return rings


def _edges(region: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return where the region's edges lead from each corner, as steps (x, y) of one pixel."""
    padded = np.pad(np.asarray(region, bool), 1)
    onward: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def enter(at: np.ndarray, shift_xy: tuple[int, int], step_xy: tuple[int, int]) -> None:
        for row, column in zip(*(axis.tolist() for axis in np.nonzero(at)), strict=True):
            onward.setdefault((column + shift_xy[0], row + shift_xy[1]), []).append(step_xy)

    inner = padded[1:-1, 1:-1]
    enter(inner & ~padded[:-2, 1:-1], (0, 0), (1, 0))  # upper edge, to the right
    enter(inner & ~padded[1:-1, 2:], (1, 0), (0, 1))  # right edge, downwards
    enter(inner & ~padded[2:, 1:-1], (1, 1), (-1, 0))  # lower edge, to the left
    enter(inner & ~padded[1:-1, :-2], (0, 1), (0, -1))  # left edge, upwards
    return onward


def _traced(
    onward: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]
) -> list[tuple[int, int]]:
    """Follow edges from `start` until they close, taking them out; where two lead on, turn left, so that what
    touches at a corner stays one."""
    ring: list[tuple[int, int]] = []
    at, heading = start, (0, 0)
    while at in onward:
        steps = onward[at]
        left = (heading[1], -heading[0])
        step = left if left in steps else steps[0]
        steps.remove(step)
        if not steps:
            del onward[at]
        if step != heading:
            ring.append(at)
        at, heading = (at[0] + step[0], at[1] + step[1]), step
    if len(ring) > 1 and _straight(ring[-1], ring[0], ring[1]):
        ring.pop(0)
    return ring


def _straight(before: tuple[int, int], at: tuple[int, int], after: tuple[int, int]) -> bool:
    return (at[0] - before[0]) * (after[1] - at[1]) == (at[1] - before[1]) * (after[0] - at[0])


def _area(ring: list[tuple[int, int]]) -> int:
    """Return twice the area of a ring, negative where it runs anticlockwise as seen in the picture."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _pairs(ring))


def _pairs(ring: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    yield from zip(ring, ring[1:] + ring[:1], strict=True)


def _joined(rings: Sequence[Sequence[Sequence[float]]]) -> Ring:
    """Join further rings (holes, or places apart) to the first, each by the shortest bridge between
    corners."""
    ring = [tuple(corner) for corner in rings[0]]
    for hole in rings[1:]:
        corners = [tuple(corner) for corner in hole]
        apart = np.abs(np.array(ring)[:, None] - np.array(corners)[None]).sum(2)
        i, j = (int(place) for place in np.unravel_index(apart.argmin(), apart.shape))
        ring[i : i + 1] = [ring[i], *corners[j:], *corners[: j + 1], ring[i]]
    return tuple((x, y) for x, y in ring)


def one_ring(rings: Sequence[Sequence[Sequence[float]]]) -> Ring:
    """Return rings as one, joined by bridges that are gone over twice, for formats that know one ring a
    place."""
    return _joined(rings)
