"""Which part of a product is judged: a region of interest less ignored places, from images or polygon files.

A polygon file is JSON: a list of polygons, each a list of [x, y] from 0 to 1 of width and height, or
`{"size_wh": [width, height], "polygons": [...]}` in the pixels of an image of that size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from flawscope.core.errors import ConfigError
from flawscope.core.types import Area
from flawscope.imaging.read import read_mask

_SUBPIXEL_BITS = 6


def load_area(roi: Path | None, ignore: Path | None, *, size_hw: tuple[int, int] = (512, 512)) -> Area | None:
    """Return what is judged: inside `roi` (everything where None) and outside `ignore`. None where neither
    is given.

    In an image every pixel that is not zero belongs to the region. A cell of the area counts as inside a
    region that covers at least half of it. Raises ImageError for an image that cannot be read, ConfigError
    for a polygon file that cannot be understood or where nothing is left to judge.
    """
    if roi is None and ignore is None:
        return None
    judged = np.ones(size_hw, bool) if roi is None else _region(roi, size_hw)
    if ignore is not None:
        judged &= ~_region(ignore, size_hw)
    if not judged.any():
        files = " and ".join(path.as_posix() for path in (roi, ignore) if path is not None)
        raise ConfigError(f"{files} leave nothing to judge", remedy="Non-zero pixels are the region.")
    return Area(judged)


def _region(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    if path.suffix.lower() in (".json", ".geojson"):
        return _polygons(path, size_hw)
    mask = read_mask(path)
    if mask.shape == size_hw:
        return mask
    shrinks = mask.shape[0] > size_hw[0] and mask.shape[1] > size_hw[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, size_hw[::-1], interpolation=how) >= 128)


def _polygons(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    name = path.as_posix()
    expected = 'a list of polygons of [x, y] from 0 to 1, or {"size_wh": [w, h], "polygons": [...]}'
    try:
        values: Any = json.loads(path.read_bytes())
        if isinstance(values, dict):
            size_wh = np.array(values["size_wh"], np.float64)
            polygons = [np.array(polygon, np.float64) / size_wh for polygon in values["polygons"]]
        else:
            polygons = [np.array(polygon, np.float64) for polygon in values]
    except OSError as error:
        raise ConfigError(f"{name} cannot be opened", found=error.strerror or str(error)) from None
    except (ValueError, TypeError, KeyError) as error:
        found = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{name} is no polygon file", expected=expected, found=found) from None
    mask = np.zeros(size_hw, np.uint8)
    for number, polygon in enumerate(polygons, 1):
        if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
            raise ConfigError(f"Polygon {number} of {name} has no three corners [x, y]", expected=expected)
        if not (np.isfinite(polygon).all() and polygon.min() >= 0 and polygon.max() <= 1):
            raise ConfigError(
                f"Polygon {number} of {name} leaves the image",
                expected=expected,
                found=f"values from {polygon.min():g} to {polygon.max():g} of the image's size",
                remedy="Give pixels together with size_wh.",
            )
        corners = polygon * (size_hw[1], size_hw[0]) - 0.5  # OpenCV's pixel centres are whole numbers
        fixed = np.rint(corners * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 1, shift=_SUBPIXEL_BITS)
    return mask.astype(bool)
