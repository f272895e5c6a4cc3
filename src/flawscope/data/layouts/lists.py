"""Layouts that say it by a list: CSV, JSON lines, and the manifests of our own; COCO stands in
`annotated`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.layouts.annotated import read_coco_list
from flawscope.data.layouts.registry import layout
from flawscope.data.layouts.tree import TEST_NAMES, Reading, Tree, id_of, label_of, merged, top_lists
from flawscope.data.manifest import is_manifest, read_manifest

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "image", "image_path", "file", "filename", "file_name", "filepath", "source-ref"),
    "label": ("label", "class", "defect", "category", "target", "anomaly", "is_anomaly", "defective"),
    "mask": ("mask", "mask_path", "ground_truth"),
    "split": ("split", "set", "role", "subset", "partition"),
    "product": ("product", "object", "item"),
    "part": ("part", "part_id", "serial", "serial_number", "specimen"),
    "group": ("group", "lot", "batch", "camera", "day"),
}


@dataclass(frozen=True)
class Row:
    """One line of a list: its number in the file, and what it says by our own column names."""

    line: int
    cells: Mapping[str, str]


def read_list(path: Path) -> Reading:
    """Read a `.csv`, `.jsonl` or `.json` (COCO) list given by itself.

    Raises DataError for what it cannot be.
    """
    readers: dict[str, Callable[[Path], Reading]] = {
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
        ".json": read_coco_list,
    }
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{path} is no list of images", expected="a folder, or a .csv, .jsonl or .json (COCO) file"
        )
    return readers[path.suffix.lower()](path)


def list_layout(path: Path) -> str:
    """Return the layout's name of a list that was given by itself."""
    if path.suffix.lower() == ".jsonl" and is_manifest(path):
        return "manifest"
    return {".csv": "csv", ".jsonl": "jsonl", ".json": "coco"}.get(path.suffix.lower(), "")


def csv_rows(path: Path) -> list[Row]:
    """Read the lines of a CSV list, columns under our names. Raises DataError without a column of paths."""
    text = path.read_text("utf-8-sig", "replace")
    head = text[:4096]
    separator = max((",", ";", "\t"), key=head.split("\n", 1)[0].count)
    rows = csv.reader(text.splitlines(), delimiter=separator)
    names = next(rows, [])
    columns = _known_columns(names)
    if "path" not in columns.values():
        raise DataError(
            f"{path} has no column of image paths",
            expected="a first line with one of " + ", ".join(_COLUMNS["path"]),
            found=", ".join(names) or "an empty file",
        )
    return [
        Row(
            rows.line_num,
            {columns[i]: cell.strip() for i, cell in enumerate(row) if i in columns and cell.strip()},
        )
        for row in rows
        if any(cell.strip() for cell in row)
    ]


def _known_columns(names: Iterable[str]) -> dict[int, str]:
    """Map column numbers to our names; of two columns for one thing the more usual name wins."""
    given = [name.strip().lower() for name in names]
    found: dict[int, str] = {}
    for ours, theirs in _COLUMNS.items():
        index = next((given.index(name) for name in theirs if name in given), None)
        if index is not None:
            found[index] = ours
    return found


def _jsonl_rows(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is no JSON", found=error.msg) from None
        if not isinstance(values, dict):
            raise DataError(f"{path}, line {number} does not fit", expected="a JSON object", found=line[:60])
        names = list(values)
        columns = _known_columns(names)
        cells = {ours: values[names[i]] for i, ours in columns.items()}
        rows.append(Row(number, {ours: str(cell) for ours, cell in cells.items() if cell is not None}))
    return rows


def _read_csv(path: Path) -> Reading:
    return _from_rows(path, csv_rows(path))


def _read_jsonl(path: Path) -> Reading:
    if is_manifest(path):
        return Reading(read_manifest(path))
    return _from_rows(path, _jsonl_rows(path))


def _from_rows(path: Path, rows: list[Row]) -> Reading:
    labels = {row.cells["label"].lower() for row in rows if "label" in row.cells}
    numbers = bool(labels) and labels <= {"0", "1", "0.0", "1.0", "true", "false"}
    root = _root_of(path, [row.cells["path"] for row in rows if "path" in row.cells])
    samples: list[Sample] = []
    missing: list[Row] = []
    validation = 0
    for row in rows:
        name = row.cells.get("path", "").replace("\\", "/")
        place = root / name
        if not name or not place.is_file():
            missing.append(row)
            continue
        split = row.cells.get("split", "").lower()
        validation += split in {"val", "valid", "validation"}
        mask = row.cells.get("mask", "").replace("\\", "/")
        samples.append(
            Sample(
                id=id_of(place, root),
                path=place.absolute().as_posix(),
                label=_label_of_cell(row.cells.get("label"), numbers=numbers),
                product=row.cells.get("product", ""),
                mask_path=(root / mask).absolute().as_posix() if mask else None,
                part=row.cells.get("part", ""),
                group=row.cells.get("group", ""),
                role=Role.TEST if split in TEST_NAMES else None,
            )
        )
    if missing:
        raise DataError(
            f"{path}, line {missing[0].line}: there is no image {missing[0].cells.get('path', '')!r}",
            expected=f"paths relative to {root}",
            found=f"{len(missing)} of {len(rows)} lines without their image",
        )
    notes = [f"The labels of {path.name} are numbers: 0 is good, 1 is defective."] if numbers else []
    if validation:
        notes.append(f"{validation} images of the validation split serve like those of train.")
    return Reading(tuple(samples), tuple(notes))


def _root_of(path: Path, names: list[str]) -> Path:
    """Paths are relative to the list's folder or, as in VisA's split_csv, to the folder above."""
    here = path.absolute().parent
    first = names[0].replace("\\", "/") if names else ""
    return here.parent if not (here / first).is_file() and (here.parent / first).is_file() else here


def _label_of_cell(cell: str | None, *, numbers: bool) -> str | None:
    if cell is None or cell.lower() in {"", "unknown", "unlabelled", "unlabeled", "none"}:
        return None
    if numbers:
        return "defective" if cell.lower() in {"1", "1.0", "true"} else GOOD
    return label_of(cell)


def _has_path_column(tree: Tree, name: str) -> bool:
    try:
        return bool(csv_rows(tree.path(name)))
    except (DataError, csv.Error):
        return False


def _csv_lists(tree: Tree) -> list[str]:
    return [name for name in top_lists(tree, ".csv") if _has_path_column(tree, name)]


@layout(
    "csv",
    rank=62,
    recognise=lambda tree: bool(_csv_lists(tree)),
    looks_like="*.csv with a column path (and label, mask, split, product, part, group)",
)
def read_csv_lists(tree: Tree) -> Reading:
    """Read the CSV lists of a folder."""
    return merged(tree, _csv_lists(tree), _read_csv)


@layout(
    "jsonl",
    rank=61,
    recognise=lambda tree: bool(top_lists(tree, ".jsonl")),
    looks_like="*.jsonl, an object a line with path (and label, mask, split, product, part, group)",
)
def read_jsonl_lists(tree: Tree) -> Reading:
    """Read the JSON lines lists of a folder."""
    return merged(tree, top_lists(tree, ".jsonl"), _read_jsonl)


def _manifests(tree: Tree) -> list[str]:
    return [name for name in top_lists(tree, ".jsonl") if "/" not in name and is_manifest(tree.path(name))]


@layout(
    "manifest",
    rank=0,
    recognise=lambda tree: bool(_manifests(tree)),
    looks_like="manifest.jsonl as flawscope writes it",
)
def read_manifests(tree: Tree) -> Reading:
    """Read the manifests of a folder."""
    return Reading(tuple(sample for name in _manifests(tree) for sample in read_manifest(tree.path(name))))
