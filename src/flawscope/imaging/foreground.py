"""Where the product lies in a photograph: told from a background that the picture's border shows.

The border is taken to show the background: a plane of colour (light falls off evenly) is fitted to it, and
every pixel has a distance from that plane. Two rules find the product, tried in this order:

    otsu    the distances are split in two (Otsu, A Threshold Selection Method from Gray-Level Histograms,
            1979): all of them, those below that split once more, and those lighter and darker than the plane
            alone, for a lamp's reflection may differ from the background as much as the product does
    flood   what cannot be reached from the border without crossing an edge

What they find counts when the border is clear of it, when it is of one or few pieces that fill their hull,
when it differs from the background by more than the background varies, and when its outline is a step nearly
all the way and not a slope; of several the one with the sharpest outline is taken. Where nothing counts there
is no background to be seen (a web, a plate, a tile that fills the picture): then everything is product, and
the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Array

WHOLE, OTSU, FLOOD = "whole", "otsu", "flood"
_LONGEST_PX = 256  # of the picture that is looked at
_FRAME = 0.02  # of the shorter side: how wide a border shows the background
_REFITS = 3
_TRUSTED = 0.6  # of the border's pixels, the nearest to the plane, that may bend it
_SMALLEST, _LARGEST = 0.03, 0.95  # of the picture, that a product covers
_CLEAR = 0.8  # of the border, that must be background
_PIECE = 0.1  # of the largest piece's area: smaller ones are crumbs, holes of a tape, marks
_ALONG = 2.0  # square roots of a piece's area: a piece that touches the border for longer frames the picture
_WHOLENESS = 0.6  # of all that lies apart from the background, that the pieces which are kept must hold
_EDGE = 1.5  # levels a pixel: the least that is an edge
_SIDE = 7  # pixels: of the window around a pixel of the outline, in which the step is measured
_STEP = 0.3  # of the contrast between product and background, that must happen at the outline
_SHARP = 0.8  # of the outline, where it must
_SOLID = 0.5  # of its convex hull, that a product fills
_CONTRAST = 4.0  # deviations of the background from its plane, by which a product differs from it
_FAINTEST = 6.0  # levels of 255: a product that differs by less is not told from its background


@dataclass(frozen=True, eq=False)
class Foreground:
    """The product's place in a photograph."""

    mask: Array  # bool (H, W), at the photograph's size
    how: str  # otsu, flood, or whole: no background was found, everything is product

    @property
    def share(self) -> float:
        """How much of the picture is product, 0 to 1."""
        return float(self.mask.mean())


def find_foreground(pixels: Array) -> Foreground:
    """Return where the product lies in a photograph uint8 (H, W, 3) RGB, its holes filled.

    The outline is as fine as a picture of 256 pixels along its longer side shows it. The mask is never empty.
    """
    height, width = pixels.shape[:2]
    shrink = min(1.0, _LONGEST_PX / max(height, width))
    small_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = pixels if shrink == 1 else cv2.resize(pixels, small_wh, interpolation=cv2.INTER_AREA)
    if min(small_wh) < 2 * _SIDE:  # nothing but border
        return Foreground(np.ones((height, width), bool), WHOLE)
    colours = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    frame = _frame(colours.shape[:2])
    mask, how = _by_distance(colours, frame), OTSU
    if mask is None:
        mask, how = _by_edges(colours, frame), FLOOD
    if mask is None:
        return Foreground(np.ones((height, width), bool), WHOLE)
    large = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return Foreground(large >= 0.5, how)


def _by_distance(colours: Array, frame: Array) -> Array | None:
    """Return the sharpest of what differs from the background's plane, bool (h, w), or None."""
    lighter, distance = _away(colours, frame)
    best, mask = _STEP, None
    for apart in _candidates(distance, lighter):
        found = _product(apart)
        if found is None or not _placed(found, frame):
            continue
        sharpness = _sharpness(found, distance)
        if sharpness > best:
            best, mask = sharpness, found
    return mask


def _candidates(distance: Array, lighter: Array) -> Iterator[Array]:
    """Yield what may lie apart from the background, bool (h, w)."""
    high = _otsu(distance)
    low = _otsu(distance[distance <= high])
    for threshold in (high, math.sqrt(high * low), low):
        yield distance > threshold
    for side in (lighter, ~lighter):
        yield side & (distance > _otsu(np.where(side, distance, 0.0)))


def _by_edges(colours: Array, frame: Array) -> Array | None:
    """Return what an edge shuts off from the border, bool (h, w), or None where it is no product."""
    mask = _product(_enclosed(colours, frame))
    if mask is None or not _placed(mask, frame):
        return None
    steps = np.sqrt(sum(np.square(_steps(mask, one)) for one in cv2.split(colours)))
    rough = np.abs(colours - cv2.blur(colours, (_SIDE, _SIDE)))[~mask][::4].sum(1)
    least = max(_CONTRAST * 1.4826 * float(np.median(rough)), _FAINTEST)
    return mask if float(np.quantile(steps, 1 - _SHARP)) >= least else None


def _frame(size_hw: tuple[int, ...]) -> Array:
    """Return which pixels make the border, bool (h, w)."""
    wide = max(1, math.ceil(_FRAME * min(size_hw)))
    frame = np.ones(size_hw, bool)
    frame[wide:-wide, wide:-wide] = False
    return frame


def _away(colours: Array, frame: Array) -> tuple[Array, Array]:
    """Return which pixels are lighter than the background's plane, bool (h, w), and how far each is from it,
    float32 (h, w), in levels of Lab."""
    height, width = frame.shape
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    rows, columns = np.nonzero(frame)
    at = np.stack([np.ones(len(rows), np.float32), down[rows, 0], across[0, columns]], 1)
    seen = colours[frame]
    off = np.abs(seen - np.median(seen, 0)).sum(1)
    plane = np.zeros((3, 3), np.float32)
    for _ in range(_REFITS):
        near = off <= np.quantile(off, _TRUSTED)
        plane = np.linalg.lstsq(at[near], seen[near], rcond=None)[0].astype(np.float32)
        off = np.abs(seen - at @ plane).sum(1)
    lightness, reddish, yellowish = (
        channel - (plane[0, i] + down * plane[1, i] + across * plane[2, i])
        for i, channel in enumerate(cv2.split(colours))
    )
    return lightness > 0, np.asarray(cv2.magnitude(cv2.magnitude(lightness, reddish), yellowish))


def _otsu(distance: Array) -> float:
    """Return the distance that splits distances of any shape in two."""
    levels = np.clip(np.rint(distance), 0, 255).astype(np.uint8).reshape(1, -1)
    return float(cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]) + 0.5


def _enclosed(colours: Array, frame: Array) -> Array:
    """Return what cannot be reached from the border without crossing an edge, bool (h, w). An edge is steeper
    than nearly all that the border shows."""
    across = cv2.Sobel(colours, cv2.CV_32F, 1, 0, scale=0.125)
    down = cv2.Sobel(colours, cv2.CV_32F, 0, 1, scale=0.125)
    squares = cv2.split(cv2.multiply(across, across) + cv2.multiply(down, down))
    steep = np.sqrt(squares[0] + squares[1] + squares[2])  # levels a pixel
    usual = float(np.quantile(steep[frame], 0.8))
    edges = (steep > max(2 * usual, _EDGE)).astype(np.uint8)
    edges = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(1 - edges, connectivity=4)
    reached = np.zeros(count, bool)
    reached[labels[frame & (edges == 0)]] = True
    return np.asarray(~reached[labels])


def _product(apart: Array) -> Array | None:
    """Return the pieces of what lies apart that are product, holes filled, bool (h, w); None where there is
    nothing, or where most of it is crumbs and frames."""
    closed = cv2.morphologyEx(
        apart.astype(np.uint8), cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    )
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    areas = boxes[:, cv2.CC_STAT_AREA].astype(np.float64)
    rim = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    along = np.bincount(rim, minlength=count)
    frames = along > _ALONG * np.sqrt(areas)
    frames[0] = True
    if frames.all():
        return None
    kept = ~frames & (areas >= _PIECE * areas[~frames].max())
    if areas[kept].sum() < _WHOLENESS * areas[~frames].sum():
        return None
    return _filled(kept[labels])


def _filled(mask: Array) -> Array:
    """Return a mask with what it encloses."""
    around = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(around, connectivity=4)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]


def _placed(mask: Array, frame: Array) -> bool:
    """Say whether a mask lies as a product does: neither tiny nor everything, off the border, in one lump."""
    return (
        _SMALLEST <= float(np.count_nonzero(mask)) / mask.size <= _LARGEST
        and float(np.count_nonzero(mask & frame)) <= (1 - _CLEAR) * float(np.count_nonzero(frame))
        and _solid(mask)
    )


def _sharpness(mask: Array, distance: Array) -> float:
    """Return how much of the contrast between a mask and what lies around it happens at its outline, 0 to 1
    and above; 0 where it hardly differs from the background."""
    background, product = distance[~mask][::4], distance[mask][::4]  # medians need no more
    usual = float(np.median(background))
    spread = 1.4826 * float(np.median(np.abs(background - usual)))
    contrast = float(np.median(product)) - usual
    if contrast < max(_CONTRAST * spread, _FAINTEST):
        return 0.0
    return float(np.quantile(_steps(mask, distance), 1 - _SHARP)) / contrast


def _steps(mask: Array, values: Array) -> Array:
    """Return by how much values (h, w) within a mask exceed those beyond it, at each pixel of its outline, by
    the means of the two sides around it, float32 (n,)."""
    body = mask.astype(np.float32)

    def around(field: Array) -> Array:
        return np.asarray(cv2.boxFilter(field, -1, (_SIDE, _SIDE), borderType=cv2.BORDER_CONSTANT))

    outline = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) == 0)
    inner, outer = around(body)[outline], around(1 - body)[outline]
    within = around(values * body)[outline] / np.maximum(inner, 1e-6)
    beyond = around(values * (1 - body))[outline] / np.maximum(outer, 1e-6)
    return np.asarray(within - beyond)


def _solid(mask: Array) -> bool:
    """Say whether a mask fills much of its convex hull."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outlines)), 1)
    return bool(np.count_nonzero(mask) >= _SOLID * np.count_nonzero(hull))
