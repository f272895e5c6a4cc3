"""Pictures that explain, laid out for people: overlays beside each other, and below them the regions with the
good patches that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.imaging.overlay import legend

_SIDE_PX = (320, 960)  # the longer side of a picture on the panel, at least and at most
_PATCH_PX = 132
_GAP = 12
_LINE = 22
_INK = (38, 42, 48)
_QUIET = (110, 116, 124)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, eq=False)
class Captioned:
    """A picture with what is written under it."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    caption: str


@dataclass(frozen=True, eq=False)
class Compared:
    """A region's cut-out and those of the good patches it resembles most."""

    region: Captioned
    normals: tuple[Captioned, ...]


def panel(pictures: Sequence[Captioned], compared: Sequence[Compared] = ()) -> np.ndarray:
    """Return one picture uint8 (H, W, 3) on white: the pictures beside each other at one size, captions
    under them, the scale at the right, and a row for each region compared."""
    scale = _scale(pictures[0].pixels.shape)
    shown = [_captioned(_scaled(one.pixels, scale), one.caption) for one in pictures]
    height = max(64, round(pictures[0].pixels.shape[0] * scale))
    bar = legend(height, limit_word="limit")
    top = _row([*shown, bar])
    rows = [top]
    for one in compared:
        region = _captioned(_patch(one.region.pixels), one.region.caption)
        normals = [_captioned(_patch(normal.pixels), normal.caption) for normal in one.normals]
        rows.append(_row([region, _arrow(_PATCH_PX), *normals]))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_widened(row, width) for row in rows])


def cut_out(pixels: np.ndarray, box_xyxy: tuple[int, int, int, int], *, side_px: float) -> np.ndarray:
    """Return the square of `side_px` around a box, enlarged, with the box drawn in white on black; the
    picture's border is held where the square leaves it."""
    left, top, right, bottom = box_xyxy
    side = max(8, round(side_px))
    x, y = (left + right) // 2 - side // 2, (top + bottom) // 2 - side // 2
    padded = cv2.copyMakeBorder(pixels, side, side, side, side, cv2.BORDER_REPLICATE)
    square = padded[y + side : y + 2 * side, x + side : x + 2 * side]
    zoom = _PATCH_PX / side
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    large = np.ascontiguousarray(cv2.resize(square, (_PATCH_PX, _PATCH_PX), interpolation=how))
    first = round((left - x) * zoom), round((top - y) * zoom)
    last = round((right - x) * zoom) - 1, round((bottom - y) * zoom) - 1
    cv2.rectangle(large, first, last, (0, 0, 0), 3)
    cv2.rectangle(large, first, last, (255, 255, 255), 1)
    return large


def _scale(shape: tuple[int, ...]) -> float:
    longer = max(shape[:2])
    return min(max(longer, _SIDE_PX[0]), _SIDE_PX[1]) / longer


def _scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return pixels
    size_wh = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=how))


def _patch(pixels: np.ndarray) -> np.ndarray:
    if pixels.shape[:2] == (_PATCH_PX, _PATCH_PX):
        return pixels
    return np.asarray(cv2.resize(pixels, (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_LINEAR))


def _captioned(pixels: np.ndarray, caption: str) -> np.ndarray:
    """Return a picture with its caption under it, a line a line break; words that do not fit are cut."""
    lines = caption.split("\n")
    strip = np.full((_LINE * len(lines) + 6, pixels.shape[1], 3), 255, np.uint8)
    for number, line in enumerate(lines):
        colour = _INK if number == 0 else _QUIET
        place = (1, _LINE * (number + 1) - 5)
        cv2.putText(strip, _fitting(line, pixels.shape[1]), place, _FONT, 0.42, colour, 1, cv2.LINE_AA)
    return np.concatenate([pixels, strip])


def _fitting(text: str, width: int) -> str:
    """Return a text that OpenCV's letters can write within so many pixels: ASCII, cut in front."""
    text = text.encode("ascii", "replace").decode()
    while len(text) > 4 and cv2.getTextSize(text, _FONT, 0.42, 1)[0][0] > width - 2:
        text = ".." + text.removeprefix("..")[1:]
    return text


def _arrow(height: int) -> np.ndarray:
    strip = np.full((height, 44, 3), 255, np.uint8)
    cv2.arrowedLine(strip, (4, height // 2), (40, height // 2), _QUIET, 1, cv2.LINE_AA, tipLength=0.25)
    return strip


def _row(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Put pieces beside each other on white, tops aligned, gaps around them."""
    height = max(piece.shape[0] for piece in pieces) + 2 * _GAP
    width = sum(piece.shape[1] for piece in pieces) + _GAP * (len(pieces) + 1)
    row = np.full((height, width, 3), 255, np.uint8)
    x = _GAP
    for piece in pieces:
        row[_GAP : _GAP + piece.shape[0], x : x + piece.shape[1]] = piece
        x += piece.shape[1] + _GAP
    return row


def _widened(row: np.ndarray, width: int) -> np.ndarray:
    filled = np.full((row.shape[0], width, 3), 255, np.uint8)
    filled[:, : row.shape[1]] = row
    return filled
