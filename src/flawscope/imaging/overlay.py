"""Heat maps for people, on one absolute scale: the same colour means the same oddness on every image.

The scale runs from 0 to twice the NG limit. The colours are the upper 70 % of inferno (perceptually even,
and safe for colour-blind eyes); what lies below the REVIEW limit is transparent, so a good part stays plain.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from flawscope.core.types import Image, Region

SCALE_TOP = 2.0  # of the NG limit
_FIRST_COLOUR = 0.3
_LEGEND_WIDTH = 64


def heat_rgba(heat: np.ndarray, *, limit: float, review: float | None, opacity: float = 0.6) -> np.ndarray:
    """Return the colours of a map float32 (h, w) as uint8 (h, w, 4), alpha apart.

    `limit` is the value at which a place counts as odd (the scale's middle); below `review` (below half the
    limit where None) nothing is shown. A limit of zero or less has no scale: what lies above it gets the
    highest colour.
    """
    floor = 0.5 * limit if review is None else review
    shown = heat >= floor if limit > 0 else heat > limit
    share = heat / (SCALE_TOP * limit) if limit > 0 else shown.astype(np.float32)
    index = np.clip(share, 0, 1) * 255
    rgba = np.empty((*heat.shape, 4), np.uint8)
    rgba[..., :3] = _colours()[index.astype(np.uint8)]
    rgba[..., 3] = np.where(shown, round(255 * opacity), 0)
    return rgba


def overlay(
    image: Image,
    heat: np.ndarray,
    *,
    limit: float,
    review: float | None,
    regions: Sequence[Region],
    opacity: float = 0.6,
) -> np.ndarray:
    """Return the image with its heat map and the regions' outlines (white on black), uint8 (H, W, 3)."""
    height, width = image.size_hw
    result = image.pixels.copy()
    if heat.max() > (min(limit, 0) if limit <= 0 else 0):
        full = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for top in range(0, height, 512):  # row blocks: no float copy of a large image
            place = slice(top, top + 512)
            rgba = heat_rgba(full[place], limit=limit, review=review, opacity=opacity).astype(np.uint16)
            alpha = rgba[..., 3:]
            mixed = (result[place] * (255 - alpha) + rgba[..., :3] * alpha + 127) // 255
            result[place] = mixed.astype(np.uint8)
    thickness = max(1, round(max(height, width) / 600))
    outlines = [np.array(region.contour, np.int32) for region in regions]
    cv2.polylines(result, outlines, True, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.polylines(result, outlines, True, (255, 255, 255), thickness, cv2.LINE_AA)
    return result


def legend(height: int, *, limit_word: str = "NG") -> np.ndarray:
    """Return the scale as a bar, uint8 (height, 64, 3) on white, the highest value on top, with ticks at 0,
    0.5, 1 (the limit, told by `limit_word`), 1.5 and 2; `height` is 64 or more pixels."""
    if height < 64:
        raise ValueError(f"a legend is 64 or more pixels high, not {height}")
    bar = np.full((height, _LEGEND_WIDTH, 3), 255, np.uint8)
    margin = 10
    rows = np.arange(margin, height - margin)
    share = 1 - (rows - margin) / (len(rows) - 1)
    bar[rows, 6:22] = _colours()[np.rint(share * 255).astype(int)][:, None]
    for tick in (0.0, 0.5, 1.0, 1.5, 2.0):
        y = margin + round((1 - tick / SCALE_TOP) * (len(rows) - 1))
        cv2.line(bar, (22, y), (26 if tick != 1 else 30, y), (0, 0, 0), 1)
        text = limit_word if tick == 1 else f"{tick:g}"
        cv2.putText(bar, text, (32, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


def _colours() -> np.ndarray:
    """Return the 256 colours of the scale, uint8 (256, 3) RGB."""
    index = np.rint(255 * (_FIRST_COLOUR + (1 - _FIRST_COLOUR) * np.linspace(0, 1, 256))).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(index[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1])
