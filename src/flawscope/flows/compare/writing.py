"""A comparison on disk: JSON, CSV, Markdown, and the page with its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.cells import Outcome, Status
from flawscope.core.errors import DataError, ImageError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.types import Array, Role, Sample
from flawscope.data.manifest import read_manifest
from flawscope.decision.comparison import Comparison
from flawscope.flows.compare.engine import Cache
from flawscope.flows.reporting import outline_truth, truth_mask
from flawscope.imaging.read import read
from flawscope.imaging.write import encode, thumbnail
from flawscope.report.compare_page import Pictures, Sheet, Shown, choose_shown, render_compare
from flawscope.report.compare_table import compare_csv, compare_md

SIDE_PX = 200  # longer side of a photograph and of a heat map on the page
THUMB_PX = 72
_COLUMNS = 20
_ON_SHEET = 400  # photographs of one product that are shown small
_GROUND = (22, 25, 28)  # as the page's picture frames


def write_comparison(comparison: Comparison, cache: Cache, *, reports: bool = True) -> Path:
    """Write `compare.json`, `compare.csv`, `compare.md` and `compare.html` into the cache's folder; return
    the page's path. `reports` links every cell's own report from the page."""
    out = cache.root
    write_text(out / "compare.json", json.dumps(comparison.to_json(), indent=1, allow_nan=False) + "\n")
    write_bytes(out / "compare.csv", compare_csv(comparison).encode(errors="replace"))
    write_bytes(out / "compare.md", compare_md(comparison).encode(errors="replace"))
    pictures = [pictures_of(comparison, cache, product) for product in comparison.products]
    page = render_compare(comparison, pictures=pictures, reports=reports)
    write_bytes(out / "compare.html", page.encode(errors="replace"))
    return out / "compare.html"


def pictures_of(comparison: Comparison, cache: Cache, product: str) -> Pictures:
    """Read what the page shows of one product: its test photographs small, and the first seed's heat maps of
    those that tell most."""
    first: dict[str, Outcome] = {}
    for outcome in comparison.outcomes:
        if outcome.cell.product == product and outcome.status is Status.OK:
            first.setdefault(outcome.cell.model, outcome)
    if not first:
        return Pictures(product)
    cell = next(iter(first.values())).cell
    try:
        samples = [s for s in read_manifest(Path(cell.manifest)) if s.role is Role.TEST]
    except DataError:  # moved away since
        return Pictures(product)
    by_id = {sample.id: sample for sample in samples}
    shown = []
    for name in choose_shown(list(first.values()), models=len(first)):
        made = _shown(by_id[name], first, cache, above=cell.mask_above) if name in by_id else None
        if made is not None:
            shown.append(made)
    return Pictures(product, contact_sheet(samples), tuple(shown))


def contact_sheet(samples: Sequence[Sample]) -> Sheet | None:
    """Return photographs as squares of one picture, bad ones first; those that cannot be read are left
    out."""
    chosen = sorted(samples, key=lambda sample: not sample.is_bad)[:_ON_SHEET]
    squares: list[Array] = []
    places: dict[str, tuple[int, int]] = {}
    for sample in chosen:
        try:
            small = thumbnail(read(sample.path).pixels, THUMB_PX)
        except ImageError:
            continue
        square = np.full((THUMB_PX, THUMB_PX, 3), _GROUND, np.uint8)
        top, left = (THUMB_PX - small.shape[0]) // 2, (THUMB_PX - small.shape[1]) // 2
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        places[sample.id] = (len(squares) % _COLUMNS, len(squares) // _COLUMNS)
        squares.append(square)
    if not squares:
        return None
    columns = min(_COLUMNS, len(squares))
    blank = np.full((THUMB_PX, THUMB_PX, 3), _GROUND, np.uint8)
    squares += [blank] * (-len(squares) % columns)
    rows = [np.concatenate(squares[i : i + columns], 1) for i in range(0, len(squares), columns)]
    return Sheet(encode(np.concatenate(rows, 0), ".jpg"), THUMB_PX, columns, places)


def _shown(sample: Sample, first: Mapping[str, Outcome], cache: Cache, *, above: int | None) -> Shown | None:
    try:
        image = read(sample.path)
    except ImageError:
        return None
    small = thumbnail(image.pixels, SIDE_PX).copy()
    mask = truth_mask(sample, image.size_hw, above=above)
    if mask is not None:
        size_wh = small.shape[1], small.shape[0]
        share = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
        outline_truth(small, np.asarray(share) > 0)
    maps = {}
    for model, outcome in first.items():
        try:
            drawn = read(cache.folder(outcome.cell) / outcome.pictures[sample.id]).pixels
        except (ImageError, KeyError):
            continue
        maps[model] = encode(thumbnail(drawn, SIDE_PX), ".jpg")
    return Shown(sample.id, sample.label or "", encode(small, ".jpg"), maps, mask is not None)
