"""COCO instances (Lin et al. 2014): `instances.json` with polygons, `instances_rle.json` with exact masks.

Polygons are what is dragged about in a labelling tool, one an annotation, as Label Studio's converter reads
the first alone; run lengths keep every pixel, and CVAT imports them as masks. Both list the same photographs
and annotations under the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from flawscope.core import files
from flawscope.core.errors import DataError
from flawscope.core.types import Json
from flawscope.data.annotations.registry import Target, annotation_format, copied
from flawscope.data.annotations.types import Annotated, Annotation, Provenance
from flawscope.imaging import rle
from flawscope.imaging.outlines import filled, one_ring, outlines

TOLERANCE_PX = 0.75  # by which a polygon's outline may stray from the pixels' edges: fewer corners to drag
PHOTOGRAPHS = "flawscope_photographs"  # in `info`: the folder of the photographs, relative to the list


@annotation_format("coco", holds="boxes, polygons, exact masks, confidence, provenance")
def write_coco(target: Target, photographs: Iterable[Annotated]) -> Path:
    """Write both lists and return the exact one."""
    for name, exact in (("instances.json", False), ("instances_rle.json", True)):
        with files.replacing(target.folder / name) as temporary:
            with temporary.open("w", encoding="utf-8", newline="\n") as stream:
                _write(stream, target, photographs, exact=exact)
    if target.copy:
        for photograph in photographs:
            copied(target, photograph.name, target.folder / "images" / photograph.name)
    return target.folder / "instances_rle.json"


def _write(stream: IO[str], target: Target, photographs: Iterable[Annotated], *, exact: bool) -> None:
    """Write one list a photograph at a time."""
    numbers = {label: number for number, label in enumerate(target.labels, 1)}
    info: Json = {
        "description": "Annotations from calibrated heat maps",
        "version": "1.0",
        "year": int(target.created[:4]),
        "contributor": target.source or "flawscope",
        "date_created": target.created,
        PHOTOGRAPHS: "images" if target.copy else target.photographs_from_here,
    }
    categories = [
        {"id": number, "name": label, "supercategory": "defect"} for label, number in numbers.items()
    ]
    stream.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": {json.dumps(categories)},\n')
    _write_rows(stream, "images", _images(photographs))
    stream.write(",\n")
    _write_rows(stream, "annotations", _annotations(photographs, numbers, exact=exact))
    stream.write("}\n")


def _write_rows(stream: IO[str], name: str, rows: Iterable[Json]) -> None:
    stream.write(f'"{name}": [')
    for i, row in enumerate(rows):
        stream.write(("," if i else "") + "\n" + json.dumps(row, allow_nan=False))
    stream.write("]")


def _images(photographs: Iterable[Annotated]) -> Iterator[Json]:
    for number, photograph in enumerate(photographs, 1):
        height, width = photograph.size_hw
        yield {"id": number, "file_name": photograph.name, "height": height, "width": width}


def _annotations(photographs: Iterable[Annotated], numbers: dict[str, int], *, exact: bool) -> Iterator[Json]:
    key = 0
    for image, photograph in enumerate(photographs, 1):
        for one in photograph.annotations:
            key += 1
            left, top, right, bottom = one.box_xyxy
            row: Json = {
                "id": key,
                "image_id": image,
                "category_id": numbers[one.label],
                "bbox": [left, top, right - left, bottom - top],
                "area": one.area_px,
                "iscrowd": 0,
            }
            if one.mask is not None:  # an empty list would stop Label Studio's converter
                row["segmentation"] = _segmentation(one, photograph.size_hw, exact=exact)
            if one.confidence is not None:
                row["score"] = one.confidence
            if one.provenance is not None:
                row["attributes"] = one.provenance.to_json()
            yield row


def _segmentation(one: Annotation, size_hw: tuple[int, int], *, exact: bool) -> Any:
    assert one.mask is not None
    if exact:
        return {"size": list(size_hw), "counts": rle.packed(rle.counts_of(one.full_mask(size_hw)))}
    left, top = one.box_xyxy[:2]
    ring = one_ring(outlines(one.mask, tolerance_px=TOLERANCE_PX))
    return [[float(value) for x, y in ring for value in (x + left, y + top)]]


def coco_values(path: Path) -> Json | None:
    """Return the content of a COCO list, or None for a file that is none."""
    try:
        values = json.loads(path.read_text("utf-8-sig", "replace"))
    except json.JSONDecodeError:
        return None
    is_coco = isinstance(values, dict) and {"images", "annotations", "categories"} <= values.keys()
    return values if is_coco else None


def read_coco(
    path: Path, size_of: Callable[[str], tuple[int, int]], *, values: Json | None = None
) -> Iterator[Annotated]:
    """Yield every photograph of a COCO list with what is marked on it.

    `size_of` gives height and width of a photograph that the list states none for, `values` the list's
    content where that was read before. An annotation with neither outline nor box is a box around everything:
    its label counts, its place is not known. Raises DataError with the list and the annotation for what does
    not fit.
    """
    values = coco_values(path) if values is None else values
    if values is None:
        raise DataError(f"{path} is no COCO list", expected="JSON with images, annotations and categories")
    try:
        names = {category["id"]: str(category["name"]) for category in values["categories"]}
        of_image: dict[Any, list[Json]] = {}
        for row in values["annotations"]:
            of_image.setdefault(row["image_id"], []).append(row)
        images = [
            (image["id"], str(image["file_name"]).replace("\\", "/"), image) for image in values["images"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is a damaged COCO list", found=f"no {error}") from None
    for key, name, image in images:
        size_hw = (image.get("height"), image.get("width"))
        if not all(isinstance(side, int) and side > 0 for side in size_hw):
            size_hw = size_of(name)
        rows = of_image.get(key, [])
        yield Annotated(name, size_hw, tuple(_read_row(row, names, size_hw, path) for row in rows))


def _read_row(row: Json, names: dict[Any, str], size_hw: tuple[int, int], path: Path) -> Annotation:
    where = f"{path}, annotation {row.get('id', '?')} of image {row['image_id']}"
    if row.get("category_id") not in names:
        raise DataError(
            f"{where} is of a category that is not listed",
            expected="one of " + ", ".join(map(str, names)),
            found=repr(row.get("category_id")),
        )
    label, score = names[row["category_id"]], row.get("score")
    sure = float(score) if isinstance(score, int | float) and 0 <= score <= 1 else None
    attributes = row.get("attributes")
    known = attributes if isinstance(attributes, dict) and "by" in attributes else None
    origin = None if known is None else Provenance.from_json(known)
    if outline := row.get("segmentation"):
        mask = _mask(outline, size_hw, where)
        if mask.any():
            return Annotation.of_mask(mask, label, confidence=sure, provenance=origin)
    height, width = size_hw
    try:
        left, top, wide, high = (float(side) for side in row.get("bbox") or (0, 0, width, height))
        box = (max(left, 0.0), max(top, 0.0), min(left + wide, width), min(top + high, height))
        return Annotation(label, box, None, sure, origin)
    except (TypeError, ValueError):
        raise DataError(
            f"{where} has a box that does not fit",
            expected=f"[left, top, width, height] within {width}x{height} px",
            found=str(row.get("bbox"))[:80],
        ) from None


def _mask(outline: Any, size_hw: tuple[int, int], where: str) -> Any:
    """Return the mask of a segmentation: polygons, or run lengths as numbers or packed."""
    try:
        if not isinstance(outline, dict):
            return filled([list(zip(ring[::2], ring[1::2], strict=True)) for ring in outline], size_hw)
        if tuple(outline["size"]) != size_hw:
            raise ValueError(f"run lengths of {outline['size']}")
        counts = outline["counts"]
        return rle.mask_of(rle.unpacked(counts) if isinstance(counts, str) else counts, size_hw)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(
            f"{where} has a segmentation that does not fit",
            expected=f"polygons [x, y, x, y, ...], or size {list(size_hw)} and counts",
            found=str(error)[:120],
        ) from None
