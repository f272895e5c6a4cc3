"""Where the product lies in each photograph: relative coordinates as JSON or CSV, written and read back.

A box is (left, top, right, bottom) from 0 to 1 of the photograph's width and height. An image has one or
several boxes, or a mask file whose non-zero pixels are the product; a mask's path is relative to the file.

JSON: `{"format": "flawscope-coords", "version": 1, "images": {"ID": {"boxes": [[l, t, r, b]]}, ...}}`, a mask
as `{"mask": "PATH"}`. CSV: a head line with `image,left,top,right,bottom,mask`, one line a box or mask.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.types import Array, Json, Sample
from flawscope.imaging.read import read_mask

FORMAT = "flawscope-coords"
VERSION = 1
HEAD = ("image", "left", "top", "right", "bottom", "mask")
SUFFIXES = (".json", ".csv")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Outline:
    """Where the product lies in one photograph: boxes from 0 to 1, or a mask's path."""

    boxes: tuple[Box, ...] = ()
    mask: str = ""

    def __post_init__(self) -> None:
        if bool(self.boxes) == bool(self.mask):
            raise ValueError("an outline has boxes or a mask")
        for box in self.boxes:
            if fault := box_fault(box):
                raise ValueError(fault)

    def to_json(self) -> Json:
        """Return the outline as JSON."""
        return {"mask": self.mask} if self.mask else {"boxes": [list(box) for box in self.boxes]}


@dataclass(frozen=True)
class Coords:
    """Outlines by image, and the folder that masks' paths are relative to."""

    outlines: Mapping[str, Outline]
    folder: Path = field(default_factory=Path)
    name: str = "the coordinates"

    def of(self, sample: Sample) -> Outline | None:
        """Return a sample's outline: by its id, by its path, or by the one name that its path ends with; None
        where there is none, or several fit."""
        for name in (sample.id, sample.path):
            if name in self.outlines:
                return self.outlines[name]
        tails = sample.path.replace("\\", "/").split("/")
        for start in range(1, len(tails)):  # the longest tail first
            if (name := "/".join(tails[start:])) in self.outlines:
                return self.outlines[name]
        return None

    def refuse_missing(self, samples: Iterable[Sample]) -> None:
        """Raise DataError where a sample has no outline: its score would mean something else."""
        listed = list(samples)
        missing = [sample for sample in listed if self.of(sample) is None]
        if missing:
            raise DataError(
                f"{self.name} says nothing of {missing[0].id}",
                expected="boxes or a mask for every image, by its path within the data set",
                found=f"{len(missing)} of {len(listed)} images without, and {len(self.outlines)} in the file",
                remedy="Write them anew with: flawscope data FOLDER --coords FILE",
            )

    def region(self, outline: Outline, size_hw: tuple[int, int]) -> Array:
        """Return which cells of a grid over the photograph show the product, bool (h, w): those whose centre
        lies in a box or, by a mask, of which at least half does; the nearest one where none does. Raises
        ImageError for a mask that cannot be read, DataError for an empty one."""
        if outline.mask:
            return self._masked(outline.mask, size_hw)
        shown = np.zeros(size_hw, np.bool_)
        for left, top, right, bottom in outline.boxes:
            rows, columns = _cells(top, bottom, size_hw[0]), _cells(left, right, size_hw[1])
            shown[rows, columns] = True
        return shown

    def _masked(self, name: str, size_hw: tuple[int, int]) -> Array:
        mask = read_mask(self.folder / name)
        if not mask.any():
            raise DataError(
                f"The mask {name} of {self.name} is empty", expected="non-zero pixels: the product"
            )
        shrinks = mask.shape[0] > size_hw[0] or mask.shape[1] > size_hw[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT
        share = np.asarray(cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=how))
        return np.asarray(share >= min(0.5, float(share.max()) - 1e-6))


def box_fault(box: Sequence[float]) -> str:
    """Say what is wrong with a box; empty where nothing is."""
    if len(box) != 4:
        return f"a box has four numbers, not {len(box)}"
    if not all(math.isfinite(value) for value in box):
        return "a box needs finite numbers"
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        return f"left, top, right, bottom = {left:g}, {top:g}, {right:g}, {bottom:g}"
    return ""


def box_of(region: Array) -> Box:
    """Return the box around the true cells of a region, bool (h, w), relative to it. Raises ValueError where
    there are none."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not rows.size:
        raise ValueError("an empty region has no box")
    height, width = region.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def write_coords(path: Path, outlines: Mapping[str, Outline]) -> None:
    """Write outlines by image as JSON or CSV, by the name's ending. Raises DataError for another ending."""
    _refuse_ending(path)
    if path.suffix.lower() == ".json":
        images = {name: outline.to_json() for name, outline in outlines.items()}
        values = {"format": FORMAT, "version": VERSION, "images": images}
        write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")
        return
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(HEAD)
    for name, outline in outlines.items():
        if outline.mask:
            writer.writerow((_guarded(name), "", "", "", "", _guarded(outline.mask)))
        for box in outline.boxes:
            writer.writerow((_guarded(name), *map(repr, box), ""))
    # names of files may hold bytes that are no text
    write_bytes(path, stream.getvalue().encode(errors="surrogateescape"))


def read_coords(path: Path) -> Coords:
    """Read what `write_coords` wrote, or a person. Raises DataError that names file and row."""
    _refuse_ending(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path} cannot be opened", found=error.strerror or str(error)) from None
    reader = _from_json if path.suffix.lower() == ".json" else _from_csv
    try:
        outlines = reader(text, path)
    except csv.Error as error:
        raise DataError(
            f"{path} is no CSV", expected="lines of " + ",".join(HEAD), found=str(error)
        ) from None
    if not outlines:
        raise DataError(f"{path} holds no coordinates", expected="at least one image")
    return Coords(outlines, path.absolute().parent, path.as_posix())


def _from_json(text: str, path: Path) -> dict[str, Outline]:
    expected = (
        f'{{"format": "{FORMAT}", "version": {VERSION}, "images": {{"ID": {{"boxes": [[l, t, r, b]]}}}}}}'
    )
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is no JSON", expected=expected, found=str(error)) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != VERSION:
        raise DataError(f"{path} holds no coordinates of flawscope", expected=expected, found=text[:60])
    images = values.get("images")
    if not isinstance(images, dict):
        raise DataError(f"{path} names no images", expected=expected)
    return {name: _outline(entry, f"{path}, image {name}") for name, entry in images.items()}


def _outline(entry: Any, where: str) -> Outline:
    """Read one image's entry of a JSON file."""
    expected = '{"boxes": [[left, top, right, bottom], ...]} from 0 to 1, or {"mask": "PATH"}'
    if (
        isinstance(entry, dict)
        and entry.keys() == {"mask"}
        and isinstance(entry["mask"], str)
        and entry["mask"]
    ):
        return Outline(mask=entry["mask"])
    boxes = entry.get("boxes") if isinstance(entry, dict) and entry.keys() == {"boxes"} else None
    if not isinstance(boxes, list) or not boxes:
        raise DataError(f"{where} has neither boxes nor a mask", expected=expected, found=str(entry)[:60])
    for number, box in enumerate(boxes, 1):
        numbers = isinstance(box, list) and all(type(value) in (int, float) for value in box)
        fault = box_fault(box) if numbers else str(box)[:60]
        if fault:
            raise DataError(f"{where}: box {number} does not fit", expected=_EXPECTED, found=fault)
    return Outline(tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes))


_EXPECTED = "0 <= left < right <= 1 and 0 <= top < bottom <= 1, shares of width and height"


def _from_csv(text: str, path: Path) -> dict[str, Outline]:
    rows = csv.reader(io.StringIO(text, newline=""))
    head = [name.strip().lower() for name in next(rows, [])]
    needed = HEAD[:5]
    if any(name not in head for name in needed):
        raise DataError(
            f"{path} does not say what its columns are",
            expected="a first line with " + ",".join(HEAD),
            found=",".join(head) or "an empty file",
        )
    boxes: dict[str, list[Box]] = {}
    masks: dict[str, str] = {}
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, line {rows.line_num}"
        if len(cells) > len(head):
            raise DataError(
                f"{where} is too long", expected=f"{len(head)} cells", found=f"{len(cells)} cells"
            )
        row = dict(zip(head, cells, strict=False))
        name, mask = _unguarded(row["image"]), _unguarded(row.get("mask", ""))
        if not name:
            raise DataError(f"{where} names no image")
        if mask:
            if name in masks:
                raise DataError(f"{where} gives {name} a second mask", expected="one mask an image")
            masks[name] = mask
        else:
            boxes.setdefault(name, []).append(_csv_box(row, where))
    if both := boxes.keys() & masks.keys():
        raise DataError(f"{path} gives {min(both)} boxes and a mask", expected="one or the other")
    outlines = {name: Outline(tuple(found)) for name, found in boxes.items()}
    return outlines | {name: Outline(mask=mask) for name, mask in masks.items()}


def _csv_box(row: Mapping[str, str], where: str) -> Box:
    given = [row.get(name, "") for name in HEAD[1:5]]
    try:
        left, top, right, bottom = (float(cell) for cell in given)
    except ValueError:
        raise DataError(f"{where} holds no box", expected=_EXPECTED, found=", ".join(given)) from None
    if fault := box_fault((left, top, right, bottom)):
        raise DataError(f"{where} holds no box", expected=_EXPECTED, found=fault)
    return left, top, right, bottom


def _guarded(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula, with an apostrophe in front where it begins like
    one (or with an apostrophe, so that reading can take one away)."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def _unguarded(name: str) -> str:
    return name[1:] if name.startswith("'") and name[1:].startswith(_FORMULA) else name


def _cells(low: float, high: float, count: int) -> slice:
    """Return the cells whose centre lies from `low` to `high` (0 to 1), at least the one at the middle."""
    first, last = math.ceil(low * count - 0.5), math.ceil(high * count - 0.5)
    if last <= first:
        first = min(count - 1, int((low + high) / 2 * count))
        last = first + 1
    return slice(first, last)


def _refuse_ending(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path} has no ending for coordinates",
            expected=" or ".join(SUFFIXES),
            found=path.suffix or "none",
        )
