"""From a photograph to the graph's canvases, and from the graph's maps back to the photograph.

How map cells relate to pixels is one rule everywhere: a cell belongs to what its centre shows. A cell whose
centre lies on padding is dropped, so padding never reaches a result, and a place in the map is within one
cell of its place in the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.errors import UsageError
from flawscope.core.types import Area, Fit, Image, Merge, Preprocess

BUDGET_SLACK = 0.05  # how far a working size may exceed its budget: 320x160 (1 : 2) is 2 % over 224x224
AREA_WEIGHT = 0.25  # halving the area costs as much as distorting the aspect by 2 ** 0.25, 19 %
_LONGEST_SIDE = 4096
_LARGEST_CANVAS = 2.5  # budgets


@dataclass(frozen=True, eq=False)
class Canvases:
    """Canvases of one image, ready for the graph, and where each comes from."""

    pixels: np.ndarray  # uint8 (N, H, W, 3) RGB
    content_xyxy: np.ndarray  # float32 (N, 4), where the picture lies in its canvas, in canvas pixels
    windows_xyxy: np.ndarray  # int32 (N, 4), the part of the image that it shows, in image pixels
    image_size_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pixels)


def plan_size(
    sizes_hw: Sequence[tuple[int, int]], *, budget_px: int = 224 * 224, multiple: int = 32
) -> tuple[int, int]:
    """Return the working height and width: multiples of `multiple` whose area exceeds `budget_px` by at most
    5 %.

    Among these it takes the least |log(aspect / median aspect)| + 0.25 |log(budget / area)|: the aspect
    comes first, the area second. The median is taken of the logarithms, so tall and wide count alike. Square
    images give 224x224, 1 : 2 gives 320x160, 4 : 3 gives 256x192. Raises UsageError without sizes or with a
    budget below one square of `multiple`.
    """
    if not sizes_hw or min(min(size) for size in sizes_hw) < 1:
        raise UsageError("A working size needs the sizes of images", found=f"{len(sizes_hw)} sizes")
    if multiple < 16 or budget_px < multiple**2:
        raise UsageError(
            f"A budget of {budget_px} pixels in steps of {multiple} leaves no working size",
            expected=f"at least {max(multiple, 16) ** 2} pixels in steps of 16 or more",
        )
    aspect = float(np.median([math.log(height / width) for height, width in sizes_hw]))
    most = int(budget_px * (1 + BUDGET_SLACK))
    best, best_cost = (multiple, multiple), math.inf
    for height in range(multiple, min(_LONGEST_SIDE, most // multiple) + 1, multiple):
        for width in range(multiple, min(_LONGEST_SIDE, most // height) + 1, multiple):
            shape = abs(math.log(height / width) - aspect)
            cost = shape + AREA_WEIGHT * abs(math.log(budget_px / (height * width)))
            if cost < best_cost - 1e-9:
                best, best_cost = (height, width), cost
    return best


def plan_canvas(
    sizes_hw: Sequence[tuple[int, int]], *, budget_px: int = 224 * 224, multiple: int = 32
) -> tuple[tuple[int, int], int | None]:
    """Return a letterbox canvas for images of these sizes, and how many of its pixels a picture may take.

    Images of one shape get the canvas of `plan_size`, and all of it (None). Where shapes differ so much that
    such a canvas would show the elongated ones at less than half the budget, every picture gets the budget's
    area instead, on a canvas that holds the middle nine tenths of the shapes at that area, at most 2.5
    budgets large.
    """
    planned = plan_size(sizes_hw, budget_px=budget_px, multiple=multiple)
    aspects = np.sort([height / width for height, width in sizes_hw])
    low, high = aspects[int(0.05 * (len(aspects) - 1))], aspects[math.ceil(0.95 * (len(aspects) - 1))]
    canvas = planned[0] / planned[1]
    if min(canvas / high, low / canvas) > 0.5:
        return planned, None
    height, width = math.sqrt(budget_px * high), math.sqrt(budget_px / low)
    shrink = min(1.0, math.sqrt(_LARGEST_CANVAS * budget_px / (height * width)))
    sides = (max(multiple, round(side * shrink / multiple) * multiple) for side in (height, width))
    rows, columns = (min(side, _LONGEST_SIDE) for side in sides)
    return (rows, columns), budget_px


def to_canvases(image: Image, preprocess: Preprocess) -> Canvases:
    """Return all canvases of an image. For tiles of very large images see `iter_canvases`."""
    (canvases,) = iter_canvases(image, preprocess, batch=1 << 31)
    return canvases


def iter_canvases(image: Image, preprocess: Preprocess, *, batch: int) -> Iterator[Canvases]:
    """Yield an image's canvases, at most `batch` at a time, so that memory does not grow with the image.

    STRETCH and LETTERBOX give one canvas; shrinking averages (INTER_AREA), growing interpolates
    (INTER_LINEAR), each axis by its own rule. TILES gives windows at native resolution in rows from the top
    left; windows wholly outside `preprocess.area` are left out.
    """
    if batch < 1:
        raise UsageError("A batch holds at least one canvas", found=str(batch))
    if preprocess.fit is not Fit.TILES:
        yield _single(image, preprocess)
        return
    windows = tile_windows(image.size_hw, preprocess)
    for start in range(0, len(windows), batch):
        yield _tiles(image, preprocess, windows[start : start + batch])


def tile_windows(image_size_hw: tuple[int, int], preprocess: Preprocess) -> np.ndarray:
    """Return the image windows of all judged tiles, int32 (N, 4) xyxy: neighbours overlap by at least
    `tile_overlap` of a tile, the last of a row or column is flush with the edge, and a side shorter than the
    canvas has one window."""
    size_h, size_w = preprocess.size_hw
    rows = _starts(image_size_hw[0], size_h, preprocess.tile_overlap)
    columns = _starts(image_size_hw[1], size_w, preprocess.tile_overlap)
    height, width = image_size_hw
    windows = [
        (left, top, min(left + size_w, width), min(top + size_h, height))
        for top in rows
        for left in columns
        if preprocess.area is None
        or _judges(preprocess.area, (left, top, left + size_w, top + size_h), width, height)
    ]
    return np.array(windows, np.int32).reshape(-1, 4)


def judged_cells(area: Area | None, size_hw: tuple[int, int]) -> np.ndarray | None:
    """Return which cells of a map over the whole image are judged, bool (h, w): those of which at least half
    lies in the area, or, where no cell reaches that, those with the largest share. None: all of them."""
    if area is None:
        return None
    share = _resized(area.judged.astype(np.float32), size_hw)
    return np.asarray(share >= min(0.5, float(share.max()) - 1e-6))


class MapMerger:
    """Puts the maps of an image's canvases together, chunk by chunk, into one map over the whole image.

    With LETTERBOX and STRETCH the result has the resolution of the canvas's content; with TILES that of the
    tiles' maps, (image height) * h / H. Overlaps take the highest value (MAX) or the mean weighted by
    closeness to the tile's centre (MEAN: a hat per axis, so that seams vanish). What the area does not judge
    is 0.
    """

    def __init__(self, preprocess: Preprocess, image_size_hw: tuple[int, int]) -> None:
        self._preprocess = preprocess
        self._image_size_hw = image_size_hw
        self._total: np.ndarray | None = None  # float32 (h, w): highest value, or weighted sum
        self._weight: np.ndarray | None = None  # float32 (h, w), MEAN alone
        self._map: np.ndarray | None = None

    def add(self, maps: np.ndarray, canvases: Canvases) -> None:
        """Add the maps float32 (N, h, w) of these canvases. Raises ValueError where the numbers do not
        match."""
        if maps.ndim != 3 or len(maps) != len(canvases) or canvases.image_size_hw != self._image_size_hw:
            raise ValueError(f"maps {maps.shape} do not belong to {len(canvases)} canvases of this image")
        self._map = None
        if self._preprocess.fit is not Fit.TILES:
            self._total = _content_cells(maps[0], canvases.content_xyxy[0], self._preprocess.size_hw)
            return
        cell_hw = self._cell_hw(maps.shape[1:])
        size_hw = _cells(self._image_size_hw[0], cell_hw[0]), _cells(self._image_size_hw[1], cell_hw[1])
        mean = self._preprocess.tile_merge is Merge.MEAN
        if self._total is None:
            self._total = np.full(size_hw, 0 if mean else -np.inf, np.float32)
            self._weight = np.zeros(size_hw, np.float32) if mean else None
        hat = np.outer(_hat(maps.shape[1]), _hat(maps.shape[2]))
        for tile, (left, top, _, _) in zip(maps, canvases.windows_xyxy, strict=True):
            down, y = _span(int(top), cell_hw[0], tile.shape[0], size_hw[0])
            across, x = _span(int(left), cell_hw[1], tile.shape[1], size_hw[1])
            place = self._total[y : y + down, x : x + across]
            if self._weight is None:
                np.maximum(place, tile[:down, :across], out=place)
            else:
                place += tile[:down, :across] * hat[:down, :across]
                self._weight[y : y + down, x : x + across] += hat[:down, :across]

    def result(self) -> np.ndarray:
        """Return the map over the whole image, float32 (h, w). Raises ValueError if nothing was added."""
        if self._map is None:
            if self._total is None:
                raise ValueError("no map was added")
            merged = self._total
            if self._weight is not None:
                merged = np.divide(merged, self._weight, out=np.zeros_like(merged), where=self._weight > 0)
            elif self._preprocess.fit is Fit.TILES:
                merged = np.where(np.isneginf(merged), np.float32(0), merged)
            judged = judged_cells(self._preprocess.area, merged.shape)
            self._map = merged if judged is None else np.where(judged, merged, np.float32(0))
        return self._map

    def _cell_hw(self, map_hw: tuple[int, ...]) -> tuple[float, float]:
        return self._preprocess.size_hw[0] / map_hw[0], self._preprocess.size_hw[1] / map_hw[1]


def merge_maps(maps: np.ndarray, canvases: Canvases, preprocess: Preprocess) -> np.ndarray:
    """Return one map over the whole image, float32 (h, w), from the maps float32 (N, h, w) of all its
    canvases; `MapMerger` states the rules."""
    merger = MapMerger(preprocess, canvases.image_size_hw)
    merger.add(maps, canvases)
    return merger.result()


def _single(image: Image, preprocess: Preprocess) -> Canvases:
    height, width = image.size_hw
    size_h, size_w = preprocess.size_hw
    shown = _blanked(image.pixels, preprocess, (0, 0, width, height), image.size_hw)
    if preprocess.fit is Fit.STRETCH:
        pixels, box = _resized(shown, preprocess.size_hw), (0, 0, size_w, size_h)
    else:
        scale = min(size_h / height, size_w / width)
        if preprocess.content_px is not None:
            scale = min(scale, math.sqrt(preprocess.content_px / (height * width)))
        inner_h = min(size_h, max(1, round(height * scale)))
        inner_w = min(size_w, max(1, round(width * scale)))
        top, left = (size_h - inner_h) // 2, (size_w - inner_w) // 2
        box = (left, top, left + inner_w, top + inner_h)
        inner = _resized(shown, (inner_h, inner_w))
        pixels = inner if (inner_h, inner_w) == (size_h, size_w) else _padding(preprocess, 1)[0]
        if pixels is not inner:
            pixels[box[1] : box[3], box[0] : box[2]] = inner
    return Canvases(
        pixels[None],
        np.array([box], np.float32),
        np.array([(0, 0, width, height)], np.int32),
        image.size_hw,
    )


def _tiles(image: Image, preprocess: Preprocess, windows: np.ndarray) -> Canvases:
    pixels = _padding(preprocess, len(windows))
    content = np.zeros((len(windows), 4), np.float32)
    for i, (left, top, right, bottom) in enumerate(windows):
        window = (left, top, right, bottom)
        pixels[i, : bottom - top, : right - left] = _blanked(
            image.pixels[top:bottom, left:right], preprocess, window, image.size_hw
        )
        content[i, 2:] = right - left, bottom - top
    return Canvases(pixels, content, windows, image.size_hw)


def _blanked(
    pixels: np.ndarray,
    preprocess: Preprocess,
    window_xyxy: tuple[int, int, int, int],
    image_size_hw: tuple[int, int],
) -> np.ndarray:
    """Return a window's pixels with those that the area does not judge in the colour of padding, so that
    nothing there can reach a feature, not even by its neighbours. Without an area they come back as they
    are."""
    if preprocess.area is None:
        return pixels
    left, top, right, bottom = window_xyxy
    judged = preprocess.area.judged
    rows = (2 * np.arange(top, bottom) + 1) * judged.shape[0] // (2 * image_size_hw[0])
    columns = (2 * np.arange(left, right) + 1) * judged.shape[1] // (2 * image_size_hw[1])
    return np.where(judged[np.ix_(rows, columns)][..., None], pixels, _blank_colour(preprocess))


def _blank_colour(preprocess: Preprocess) -> np.ndarray:
    """Return the backbone's mean colour, which normalisation turns to (nearly) zero: uint8 (3,)."""
    return np.rint(np.clip(preprocess.mean, 0, 1) * np.float64(255)).astype(np.uint8)


def _padding(preprocess: Preprocess, n: int) -> np.ndarray:
    """Return n canvases of nothing, in the colour of padding."""
    pixels = np.empty((n, *preprocess.size_hw, 3), np.uint8)
    pixels[:] = _blank_colour(preprocess)
    return pixels


def _resized(pixels: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize: averaging along an axis that shrinks, linearly along one that grows."""
    (height, width), (size_h, size_w) = pixels.shape[:2], size_hw
    if (height, width) == (size_h, size_w):
        return pixels
    if (size_h - height) * (size_w - width) < 0:  # one grows, one shrinks: the shrinking first
        between = min(height, size_h), min(width, size_w)
        pixels = cv2.resize(pixels, between[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(pixels, (size_w, size_h), interpolation=cv2.INTER_LINEAR))
    shrinks = size_h < height or size_w < width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size_w, size_h), interpolation=how))


def _starts(length: int, window: int, overlap: float) -> list[int]:
    if length <= window:
        return [0]
    step = max(1, math.floor(window * (1 - overlap)))
    return [*range(0, length - window, step), length - window]


def _judges(area: Area, window_xyxy: tuple[int, int, int, int], width: int, height: int) -> bool:
    rows, columns = area.judged.shape
    left, top, right, bottom = window_xyxy
    top, bottom = top * rows // height, -(-min(bottom, height) * rows // height)
    left, right = left * columns // width, -(-min(right, width) * columns // width)
    return bool(area.judged[top:bottom, left:right].any())


def _cells(length: int, cell: float) -> int:
    """Return how many cells have their centre within `length` pixels, at least one."""
    return max(1, math.ceil(length / cell - 0.5))


def _span(start: int, cell: float, cells: int, total: int) -> tuple[int, int]:
    """Return how many of a tile's cells fall into a merged map of `total` cells, and where they begin."""
    count = min(cells, total)
    return count, min(round(start / cell), total - count)


def _hat(cells: int) -> np.ndarray:
    """Return weights rising from the ends to the middle, float32 (cells,)."""
    middle = (cells - 1) / 2
    return np.asarray(1 - np.abs(np.arange(cells) - middle) / (middle + 1), np.float32)


def _content_cells(values: np.ndarray, content_xyxy: np.ndarray, canvas_hw: tuple[int, int]) -> np.ndarray:
    """Cut a canvas's map float32 (h, w) to the cells whose centre shows the picture, at least one."""
    left, top, right, bottom = (float(value) for value in content_xyxy)
    rows = _centred(top, bottom, canvas_hw[0] / values.shape[0], values.shape[0])
    columns = _centred(left, right, canvas_hw[1] / values.shape[1], values.shape[1])
    return np.ascontiguousarray(values[rows, columns], dtype=np.float32)


def _centred(start: float, stop: float, cell: float, cells: int) -> slice:
    first, last = math.ceil(start / cell - 0.5), math.ceil(stop / cell - 0.5)
    if last <= first:  # a picture thinner than a cell: the cell in which its middle lies
        first = min(cells - 1, int((start + stop) / 2 / cell))
        last = first + 1
    return slice(first, last)
