"""YOLO: a text file a photograph, a line a place, coordinates as shares of width and height.

`segments/` has polygons (class x1 y1 x2 y2 ...), `boxes/` has boxes (class, middle x, middle y, width,
height), each with a `data.yaml` and a `classes.txt`. A hole, or a part that lies apart, is joined by a bridge
that is gone over twice, as a line knows one ring only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from flawscope.core import files
from flawscope.core.errors import DataError
from flawscope.data.annotations.registry import Stems, Target, annotation_format, copied
from flawscope.data.annotations.types import Annotated, Annotation
from flawscope.imaging.outlines import filled, one_ring, outlines

PHOTOGRAPHS = "flawscope_photographs"  # in data.yaml: the folder of the photographs, relative to the file
_OUTSIDE = 1e-3  # share of the picture by which a number may lie outside it: rounding
_WHOLE = 1e-3  # px by which a side may miss a whole number: rounding


@annotation_format("yolo", holds="boxes, polygons")
def write_yolo(target: Target, photographs: Iterable[Annotated]) -> Path:
    """Write both folders and return the one with polygons."""
    for kind in ("segments", "boxes"):
        folder = target.folder / kind
        inside = replace(target, folder=folder)
        stems = Stems(target.copy)
        for photograph in photographs:
            stem = stems.of(photograph.name)
            lines = [
                _line(one, photograph.size_hw, target.labels, box_only=kind == "boxes")
                for one in photograph.annotations
            ]
            files.write_text(folder / "labels" / f"{stem}.txt", "".join(line + "\n" for line in lines))
            if target.copy:
                copied(target, photograph.name, inside.place(photograph.name, stem))
        files.write_text(folder / "classes.txt", "".join(label + "\n" for label in target.labels))
        values = {
            "train": "images",
            "val": "images",
            "names": dict(enumerate(target.labels)),
            PHOTOGRAPHS: "images" if target.copy else inside.photographs_from_here,
        }
        head = "# The photographs belong into images/, beside labels/: --copy puts them there.\n"
        files.write_text(folder / "data.yaml", head + yaml.safe_dump(values, sort_keys=False))
    return target.folder / "segments"


def _line(one: Annotation, size_hw: tuple[int, int], labels: tuple[str, ...], *, box_only: bool) -> str:
    height, width = size_hw
    left, top, right, bottom = one.box_xyxy
    if one.mask is None or box_only:
        shares = [
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        ]
    else:
        ring = one_ring(outlines(one.mask))
        shares = [share for x, y in ring for share in ((x + left) / width, (y + top) / height)]
    return " ".join([str(labels.index(one.label)), *(f"{share:.10g}" for share in shares)])


def names_in(path: Path) -> tuple[str, ...]:
    """Return the classes of a `data.yaml` (names as a list, or by number) or a `classes.txt`. Raises
    DataError for a file that has none."""
    text = path.read_text("utf-8-sig", "replace")
    if path.suffix == ".txt":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    values = _yaml_values(path)
    names = values.get("names")
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"{path} names no classes", expected="names: a list, or numbers from 0", found=repr(names)[:80]
        )
    return tuple(str(name) for name in names)


def _yaml_values(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8-sig", "replace"))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML", found=str(error).splitlines()[0]) from None
    return values if isinstance(values, dict) else {}


def photographs_of(path: Path) -> Path | None:
    """Return the folder of the photographs that a `data.yaml` of ours names, or None."""
    named = _yaml_values(path).get(PHOTOGRAPHS) if path.suffix != ".txt" else None
    return path.parent / named if isinstance(named, str) else None


@dataclass(frozen=True)
class LabelFile:
    """The lines of one photograph."""

    path: Path
    names: tuple[str, ...]

    def read(self, name: str, size_hw: tuple[int, int]) -> Annotated:
        """Return what is marked on the photograph `name` of this size. Raises DataError with file and
        line."""
        return Annotated(name, size_hw, tuple(self._lines(size_hw)))

    def _lines(self, size_hw: tuple[int, int]) -> Iterator[Annotation]:
        text = self.path.read_text("utf-8-sig", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield self._annotation(line.split(), f"{self.path}, line {number}", size_hw)

    def _annotation(self, words: list[str], where: str, size_hw: tuple[int, int]) -> Annotation:
        numbers = [_number(word, where) for word in words[1:]]
        if not re.fullmatch(r"\d+", words[0]) or int(words[0]) >= len(self.names):
            raise DataError(
                f"{where}: there is no class {words[0]}",
                expected=f"0 to {len(self.names) - 1}",
                remedy="Add its name to data.yaml or classes.txt",
            )
        is_box = len(numbers) in (4, 5)  # five: a prediction with its confidence
        if not is_box and (len(numbers) < 6 or len(numbers) % 2):
            raise DataError(
                f"{where} is neither a box nor a polygon",
                expected="class and 4 numbers, or class and x y of three corners or more",
                found=f"{len(numbers)} numbers",
            )
        places = numbers[:4] if is_box else numbers
        if not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in places):
            raise DataError(
                f"{where} leaves the picture",
                expected="shares of width and height from 0 to 1",
                found=" ".join(words)[:80],
                remedy="Divide pixels by the picture's size",
            )
        label = self.names[int(words[0])]
        if is_box:
            return _box(places, label, where, size_hw)
        height, width = size_hw
        ring = [(x * width, y * height) for x, y in zip(places[::2], places[1::2], strict=True)]
        return Annotation.of_mask(filled([ring], size_hw), label)


def _number(word: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise DataError(f"{where} does not fit", expected="numbers", found=repr(word[:40]))
    return value


def _box(shares: list[float], label: str, where: str, size_hw: tuple[int, int]) -> Annotation:
    height, width = size_hw
    x, y, wide, high = shares
    sides = ((x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height)
    left, top, right, bottom = (
        min(max(round(side) if abs(side - round(side)) < _WHOLE else side, 0), limit)
        for side, limit in zip(sides, (width, height, width, height), strict=True)
    )
    if not (left < right and top < bottom):
        raise DataError(f"{where} is a box without a size", expected="a width and a height above 0")
    return Annotation(label, (left, top, right, bottom))
