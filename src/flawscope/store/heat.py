"""A heat map as it is kept: a small grey PNG on an absolute scale, coloured only where it is shown."""

from __future__ import annotations

import cv2
import numpy as np

from flawscope.core.types import Inspection, Thresholds
from flawscope.imaging.write import encode

SCALE_TOP = 2.0  # what 255 stands for, in pixel limits
_LONGEST = 112  # cells a side; the maps are smooth


def heat_png(inspection: Inspection, thresholds: Thresholds) -> bytes | None:
    """Return the map of an inspection as an 8-bit grey PNG over the whole image, 0 to 255 for 0 to 2 pixel
    limits; None where there is no map or the limit gives it no scale."""
    heat, limit = inspection.map, thresholds.pixel
    if heat is None or not limit > 0:
        return None
    height, width = heat.shape
    shrink = min(1.0, _LONGEST / max(height, width))
    if shrink < 1.0:
        size_wh = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        heat = np.asarray(cv2.resize(heat, size_wh, interpolation=cv2.INTER_AREA))
    values = np.rint(np.clip(heat * np.float32(255.0 / (SCALE_TOP * limit)), 0.0, 255.0))
    return encode(values.astype(np.uint8), ".png")
