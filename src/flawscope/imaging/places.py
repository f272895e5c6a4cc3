"""Where the positions of a grid over canvases lie in the photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flawscope.core.types import Area
from flawscope.imaging.preprocess import Canvases


@dataclass(frozen=True, eq=False)
class Positions:
    """The cells of a grid over each of N canvases, told in the photograph."""

    boxes_xyxy: np.ndarray  # float32 (N, h, w, 4), relative to the photograph, cut at its border, 0..1
    shown: np.ndarray  # bool (N, h, w), whose centre lies on a judged part of the photograph


def positions(
    canvases: Canvases, grid_hw: tuple[int, int], canvas_hw: tuple[int, int], *, area: Area | None = None
) -> Positions:
    """Return where the cells of a grid over the canvases, each `canvas_hw` large, lie in the photograph."""
    sides = [_along(canvases, axis, grid_hw[axis], canvas_hw[axis]) for axis in (0, 1)]
    (tops, bottoms, rows), (lefts, rights, columns) = sides
    shape = (len(canvases), *grid_hw)
    boxes = [
        np.broadcast_to(lefts[:, None, :], shape),
        np.broadcast_to(tops[:, :, None], shape),
        np.broadcast_to(rights[:, None, :], shape),
        np.broadcast_to(bottoms[:, :, None], shape),
    ]
    shown = (rows >= 0)[:, :, None] & (columns >= 0)[:, None, :]
    if area is not None:
        height, width = area.judged.shape
        at_rows = np.clip((rows * height).astype(int), 0, height - 1)
        at_columns = np.clip((columns * width).astype(int), 0, width - 1)
        shown = shown & area.judged[at_rows[:, :, None], at_columns[:, None, :]]
    return Positions(np.stack(boxes, -1).astype(np.float32), np.asarray(shown))


def _along(canvases: Canvases, axis: int, cells: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return starts and ends (cut at the photograph's border) and centres (-1 for those on padding) of cells
    along an axis (0: rows), relative to the photograph, each (N, cells)."""
    first, last = ((1, 3), (0, 2))[axis]
    content = canvases.content_xyxy.astype(np.float64)
    windows = canvases.windows_xyxy.astype(np.float64)
    length = canvases.image_size_hw[axis]
    edges = np.arange(cells + 1) * (side / cells)
    share = (edges - content[:, [first]]) / (content[:, [last]] - content[:, [first]])  # of the window
    low, high = windows[:, [first]], windows[:, [last]]
    places = (low + np.clip(share, 0, 1) * (high - low)) / length
    centres = (share[:, :-1] + share[:, 1:]) / 2
    inside = (centres >= 0) & (centres < 1)
    whole = (low + centres * (high - low)) / length
    return places[:, :-1], places[:, 1:], np.where(inside, whole, -1.0)
