"""Layouts of published data sets of surfaces, as their archives unpack."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.layouts.lists import csv_rows
from flawscope.data.layouts.registry import layout
from flawscope.data.layouts.tree import TEST_NAMES, Known, Reading, Tree, is_image
from flawscope.data.pixels import is_empty_mask

DEFECT = "defect"  # where a data set tells no kinds apart

_KOS = re.compile(r"^(kos\d+)/(Part\d+)\.(jpg|png|bmp)$", re.IGNORECASE)
_KSDD2_MASK = re.compile(r"^(train|test)/(\d+)_GT\.png$", re.IGNORECASE)
_KSDD2_IMAGE = re.compile(r"^(train|test)/(\d+)\.png$", re.IGNORECASE)
_SODF = re.compile(r"^(?:(\w+)/)?(negative|positive)/data/([^/]+)$", re.IGNORECASE)
_DAGM = re.compile(r"^(Class\d+)/(Train|Test)/(\d+)\.png$", re.IGNORECASE)
_NEU_NAME = re.compile(r"^([a-z]+(?:[_-][a-z]+)*)[_-]\d+$", re.IGNORECASE)
_NEU = {
    "crazing": "crazing",
    "cr": "crazing",
    "inclusion": "inclusion",
    "in": "inclusion",
    "patches": "patches",
    "pa": "patches",
    "pitted_surface": "pitted_surface",
    "ps": "pitted_surface",
    "rolled-in_scale": "rolled-in_scale",
    "rolled-in-scale": "rolled-in_scale",
    "rs": "rolled-in_scale",
    "scratches": "scratches",
    "sc": "scratches",
}
_PCB = re.compile(r"^(.*?)([^/]+)_(test|temp)\.(jpg|png|bmp)$", re.IGNORECASE)
_PCB_KINDS = {"1": "open", "2": "short", "3": "mousebite", "4": "spur", "5": "copper", "6": "pin-hole"}
_TILE = re.compile(r"^MT_(\w+)/Imgs/([^/]*_num_(\d+))\.jpe?g$", re.IGNORECASE)
_TILE_GAP = 100  # running numbers at most this far apart count as one tile: rather too coarse than too fine


def _labels_by_mask(paths: Iterable[Path]) -> list[str | None]:
    """Read masks in threads: GOOD where all is zero, DEFECT otherwise, None where unreadable; order kept."""
    with ThreadPoolExecutor() as pool:
        return [
            None if empty is None else GOOD if empty else DEFECT for empty in pool.map(is_empty_mask, paths)
        ]


def _by_masks(tree: Tree, found: list[tuple[str, Known]]) -> Reading:
    """Label images by their masks; without a mask there is no label."""
    masks = [known.mask for _, known in found if known.mask is not None]
    labels = dict(zip(masks, _labels_by_mask(map(tree.path, masks)), strict=True))
    samples: list[Sample] = []
    for name, known in found:
        label = None if known.mask is None else labels[known.mask]
        mask = known.mask if label == DEFECT else None
        kept = Known(mask=mask, product=known.product, part=known.part, role=known.role)
        samples.append(tree.sample(name, label, kept))
    unlabelled = sum(sample.label is None for sample in samples)
    notes = (f"{unlabelled} images have no readable mask: without a label.",) if unlabelled else ()
    return Reading(tuple(samples), notes)


@layout(
    "ksdd",
    rank=10,
    recognise=lambda tree: any(_KOS.match(name) for name in tree.images),
    looks_like="kosNN/PartK.jpg with PartK_label.bmp",
)
def read_ksdd(tree: Tree) -> Reading:
    """Read KolektorSDD (Tabernik et al. 2019): one commutator a folder, good where the mask is all zero."""
    found = []
    for name in tree.images:
        if match := _KOS.match(name):
            stem = f"{match[1]}/{match[2]}"
            mask = next((m for m in (f"{stem}_label.bmp", f"{stem}_label.png") if m in tree.known), None)
            found.append((name, Known(mask=mask, part=match[1])))
    return _by_masks(tree, found)


@layout(
    "ksdd2",
    rank=11,
    recognise=lambda tree: any(_KSDD2_MASK.match(name) for name in tree.images),
    looks_like="train|test/NNNNN.png with NNNNN_GT.png",
)
def read_ksdd2(tree: Tree) -> Reading:
    """Read KolektorSDD2 (Bozic et al. 2021): any mask pixel that is not zero is a defect."""
    masks = {name.lower(): name for name in tree.images if _KSDD2_MASK.match(name)}
    found = []
    for name in tree.images:
        if match := _KSDD2_IMAGE.match(name):
            role = Role.TEST if match[1].lower() == "test" else None
            mask = masks.get(f"{match[1]}/{match[2]}_gt.png".lower())
            found.append((name, Known(mask=mask, role=role)))
    return _by_masks(tree, found)


@layout(
    "sodf",
    rank=12,
    recognise=lambda tree: any(_SODF.match(name) for name in tree.images),
    looks_like="capsule|softgel/negative|positive/data/*.png with positive/annotation",
)
def read_sodf(tree: Tree) -> Reading:
    """Read Sensum SODF (Racki et al. 2021): capsules and softgels. A CSV list with the columns path and split
    beside them names the test part."""
    tested, listed = _sodf_test_part(tree)
    samples = []
    for name in tree.images:
        if match := _SODF.match(name):
            is_bad = match[2].lower() == "positive"
            mask = "/".join([*name.split("/")[:-2], "annotation", match[3]])
            known = Known(
                mask=mask if is_bad and mask in tree.known else None,
                product=match[1] or "",
                role=Role.TEST if name in tested else None,
            )
            samples.append(tree.sample(name, DEFECT if is_bad else GOOD, known))
    note = f"The test part is that of {', '.join(listed)}."
    if not listed:
        note = "SODF has no test part of its own; a CSV list with the columns path and split sets one."
    return Reading(tuple(samples), (note,))


def _sodf_test_part(tree: Tree) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the images that users' own lists call the test, and those lists' names. Raises DataError for a
    list that names an image which is not there."""
    tested: set[str] = set()
    listed = []
    for name in tree.files:
        if not name.lower().endswith(".csv") or name.count("/") > 1:
            continue
        folder = f"{PurePosixPath(name).parent}/".removeprefix("./")
        try:
            rows = [row for row in csv_rows(tree.path(name)) if "split" in row.cells]
        except DataError:  # a list of something else
            continue
        for row in rows:
            path = row.cells.get("path", "").replace("\\", "/")
            found = next((place for place in (folder + path, path) if place in tree.known), None)
            if found is None:
                raise DataError(
                    f"{tree.path(name)}, line {row.line}: there is no image {path!r}",
                    expected="paths relative to the list, such as negative/data/0001.png",
                )
            if row.cells["split"].lower() in TEST_NAMES:
                tested.add(found)
        if rows:
            listed.append(name)
    return frozenset(tested), tuple(listed)


@layout(
    "dagm",
    rank=13,
    recognise=lambda tree: any(_DAGM.match(name) for name in tree.images),
    looks_like="ClassN/Train|Test/*.PNG with Label/*_label.PNG",
)
def read_dagm(tree: Tree) -> Reading:
    """Read DAGM 2007 (Wieler and Hahn): an image with a label picture is defective."""
    by_lower = {name.lower(): name for name in tree.images}
    samples = []
    for name in tree.images:
        if match := _DAGM.match(name):
            mask = by_lower.get(f"{match[1]}/{match[2]}/Label/{match[3]}_label.png".lower())
            role = Role.TEST if match[2].lower() == "test" else None
            known = Known(mask=mask, product=match[1], role=role)
            samples.append(tree.sample(name, GOOD if mask is None else DEFECT, known))
    return Reading(tuple(samples), ("The masks are rough ellipses around the defects.",))


def _neu_class(name: str) -> str | None:
    path = PurePosixPath(name)
    folder = _NEU.get(path.parent.name.lower()) if len(path.parent.name) > 2 else None
    match = _NEU_NAME.match(path.stem)
    return folder or (_NEU.get(match[1].lower()) if match else None)


def _is_neu(tree: Tree) -> bool:
    kinds = [_neu_class(name) for name in tree.images]
    # Two kinds at least: a folder named `scratches` occurs elsewhere too.
    return all(kinds) and len(set(kinds)) >= 2


@layout(
    "neu",
    rank=70,
    recognise=_is_neu,
    looks_like="crazing_1.jpg, Cr_1.bmp, ... or one folder for each of the six kinds",
)
def read_neu(tree: Tree) -> Reading:
    """Read NEU-CLS or NEU-DET (Song and Yan 2013): six kinds of defects on hot-rolled steel, none good."""
    found = [(name, _neu_class(name)) for name in tree.images]
    samples = tuple(tree.sample(name, kind) for name, kind in found if kind is not None)
    notes = ["NEU holds defects only: it can teach classes, not what good looks like."]
    if any("validation/" in name.lower() for name, _ in found):
        notes.append("Images of its validation folder serve like those of train.")
    return Reading(samples, tuple(notes))


def _is_deeppcb(tree: Tree) -> bool:
    kinds = {match[3].lower() for name in tree.images if (match := _PCB.match(name))}
    return kinds == {"test", "temp"}


@layout(
    "deeppcb",
    rank=14,
    recognise=_is_deeppcb,
    looks_like="<n>_test.jpg with <n>_temp.jpg and <n>.txt (boxes x1 y1 x2 y2 kind), test.txt",
)
def read_deeppcb(tree: Tree) -> Reading:
    """Read DeepPCB (Tang et al. 2019): tested boards with boxes, and their templates, which are good.

    A pair shows one place of one board, so it is one part. `test.txt` names the test part.
    """
    boxes = {PurePosixPath(name).stem: name for name in tree.files if re.search(r"(^|/)\d+\.txt$", name)}
    tested = _pcb_test_part(tree)
    samples: list[Sample] = []
    several = 0
    for name in tree.images:
        if not (match := _PCB.match(name)):
            continue
        pair = match[2]
        label: str | None = GOOD
        if match[3].lower() == "test":
            label = _pcb_label(tree.path(boxes[pair])) if pair in boxes else None
            several += label == "several"
        role = Role.TEST if pair in tested else None
        samples.append(tree.sample(name, label, Known(part=pair, role=role)))
    notes = [f"{several} boards carry defects of several kinds: labelled 'several'."] if several else []
    return Reading(tuple(samples), (*notes, "Boxes are no masks: there is nothing to measure pixels by."))


def _pcb_test_part(tree: Tree) -> frozenset[str]:
    lists = [name for name in tree.files if PurePosixPath(name).name.lower() == "test.txt"]
    words = [word for name in lists for word in tree.path(name).read_text("utf-8", "replace").split()]
    return frozenset(PurePosixPath(word).stem for word in words if is_image(word))


def _pcb_label(path: Path) -> str | None:
    rows = [re.split(r"[\s,]+", row.strip()) for row in path.read_text("utf-8", "replace").splitlines()]
    kinds = {_PCB_KINDS.get(row[4], row[4]) for row in rows if len(row) >= 5}
    if not any(len(row) >= 5 for row in rows):
        return GOOD
    return kinds.pop() if len(kinds) == 1 else "several"


@layout(
    "magnetic_tile",
    rank=15,
    recognise=lambda tree: any(_TILE.match(name) for name in tree.images),
    looks_like="MT_<defect>/Imgs/*_num_N.jpg with .png masks (MT_Free is good)",
)
def read_magnetic_tile(tree: Tree) -> Reading:
    """Read the magnetic tiles (Huang et al. 2018).

    One tile was photographed at up to seven exposures under neighbouring running numbers; a part ends where
    the next number is more than 100 away.
    """
    found = sorted((int(match[3]), name, match) for name in tree.images if (match := _TILE.match(name)))
    samples: list[Sample] = []
    first = last = None
    for number, name, match in found:
        if first is None or last is None or number - last > _TILE_GAP:
            first = number
        last = number
        label = GOOD if match[1].lower() == "free" else match[1].lower()
        mask = str(PurePosixPath(name).with_suffix(".png"))
        known = Known(mask=mask if label != GOOD and mask in tree.known else None, part=f"tile-{first}")
        samples.append(tree.sample(name, label, known))
    parts = len({sample.part for sample in samples})
    note = f"{len(samples)} photographs of {parts} tiles: numbers at most {_TILE_GAP} apart are one tile."
    return Reading(tuple(samples), (note,))
