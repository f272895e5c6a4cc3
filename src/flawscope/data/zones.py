"""Which places of the product are critical: a map of weights, stretched over the product's box.

A zone file is an image (black counts as usual, white three times) or JSON:
`{"zones": [{"name": "pads", "box": [left, top, right, bottom], "weight": 3}, ...], "elsewhere": 1}` with
boxes from 0 to 1 of the product's box and weights from 0 (does not matter) to 10; where zones overlap, the
heaviest counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from flawscope.core.errors import ConfigError
from flawscope.core.types import Array
from flawscope.data.coords import Box, box_fault, box_of
from flawscope.imaging.read import read

LARGEST_WEIGHT = 10.0
_WHITE = 3.0  # the weight of white in an image; black is 1
_EXPECTED = (
    '{"zones": [{"name": "pads", "box": [left, top, right, bottom], "weight": 3}], "elsewhere": 1}, '
    "boxes from 0 to 1, weights from 0 to 10"
)


@dataclass(frozen=True)
class Zone:
    """One place of the product and what it counts."""

    box: Box
    weight: float
    name: str = ""


@dataclass(frozen=True, eq=False)
class Zones:
    """Weights over a product: boxes, or a grid float32 (R, C) stretched over it."""

    boxes: tuple[Zone, ...] = ()
    elsewhere: float = 1.0
    grid: Array | None = None

    def over(self, region: Array) -> Array:
        """Return each cell's weight, float64 (h, w), for a product bool (h, w): that of what its centre shows
        of the map stretched over the product's box; 1 outside the box. Raises ValueError for an empty
        region."""
        height, width = region.shape
        left, top, right, bottom = box_of(region)
        y = ((np.arange(height) + 0.5) / height - top) / (bottom - top)
        x = ((np.arange(width) + 0.5) / width - left) / (right - left)
        inside = ((y >= 0) & (y < 1))[:, None] & ((x >= 0) & (x < 1))[None]
        if self.grid is not None:
            rows = np.clip((y * self.grid.shape[0]).astype(int), 0, self.grid.shape[0] - 1)
            columns = np.clip((x * self.grid.shape[1]).astype(int), 0, self.grid.shape[1] - 1)
            return np.where(inside, self.grid[np.ix_(rows, columns)].astype(np.float64), 1.0)
        found = np.full(region.shape, -1.0)
        for zone in self.boxes:
            low_x, low_y, high_x, high_y = zone.box
            own = ((y >= low_y) & (y < high_y))[:, None] & ((x >= low_x) & (x < high_x))[None]
            found = np.where(own, np.maximum(found, zone.weight), found)
        return np.where(inside, np.where(found < 0, self.elsewhere, found), 1.0)


def read_zones(path: Path) -> Zones:
    """Read a zone file. Raises ImageError for an image that cannot be read, ConfigError for JSON that is no
    zone file."""
    if path.suffix.lower() != ".json":
        grey = cv2.cvtColor(read(path).pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return Zones(grid=np.asarray(1.0 + (_WHITE - 1.0) * grey / 255.0))
    try:
        values: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened", found=error.strerror or str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON", expected=_EXPECTED, found=str(error)) from None
    known = isinstance(values, dict) and values.keys() <= {"zones", "elsewhere"}
    entries = values.get("zones") if known else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path} holds no zones", expected=_EXPECTED, found=str(values)[:60])
    zones = tuple(_zone(entry, f"{path}, zone {number}") for number, entry in enumerate(entries, 1))
    return Zones(zones, _weight(values.get("elsewhere", 1.0), f"{path}, elsewhere"))


def _zone(entry: Any, where: str) -> Zone:
    fits = isinstance(entry, dict) and {"box", "weight"} <= entry.keys() <= {"box", "weight", "name"}
    box = entry["box"] if fits else None
    if not isinstance(box, list) or not all(type(value) in (int, float) for value in box):
        raise ConfigError(f"{where} does not fit", expected=_EXPECTED, found=str(entry)[:60])
    if fault := box_fault(box):
        raise ConfigError(f"{where} has no box", expected="0 <= left < right <= 1, top likewise", found=fault)
    left, top, right, bottom = (float(value) for value in box)
    return Zone((left, top, right, bottom), _weight(entry["weight"], where), str(entry.get("name", "")))


def _weight(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= LARGEST_WEIGHT:
        raise ConfigError(f"{where} has no weight", expected="0 to 10; 1 is usual", found=str(value)[:40])
    return float(value)
