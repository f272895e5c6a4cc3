"""Layouts of published data sets whose labels stand in lists or names of their own form."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role
from flawscope.data.layouts.lists import csv_rows
from flawscope.data.layouts.registry import layout
from flawscope.data.layouts.tree import MASK_NAMES, TEST_NAMES, Known, Reading, Tree, label_of

_VISA = re.compile(r"^(?:([^/]+)/)?Data/Images/(Normal|Anomaly)/([^/]+)$", re.IGNORECASE)


@layout(
    "visa",
    rank=20,
    recognise=lambda tree: any(_VISA.match(name) for name in tree.images),
    looks_like="<product>/Data/Images/Normal|Anomaly, Data/Masks/Anomaly, split_csv/1cls.csv",
)
def read_visa(tree: Tree) -> Reading:
    """Read VisA (Zou et al. 2022): defects named by image_anno.csv, the test part by split_csv/1cls.csv."""
    tested = {
        row.cells.get("path", "")
        for row in (csv_rows(tree.path("split_csv/1cls.csv")) if "split_csv/1cls.csv" in tree.known else [])
        if row.cells.get("split", "").lower() in TEST_NAMES
    }
    defects: dict[str, str] = {}
    for name in tree.files:
        if PurePosixPath(name).name == "image_anno.csv":
            folder = str(PurePosixPath(name).parent).replace(".", "")
            for row in csv_rows(tree.path(name)):
                tail = row.cells.get("path", "").split("/Data/", 1)[-1]
                defects[f"{folder}/Data/{tail}".lstrip("/")] = row.cells.get("label", "")
    masks = {name.lower(): name for name in tree.images if "/masks/" in f"/{name.lower()}"}
    samples = []
    for name in tree.images:
        if not (match := _VISA.match(name)):
            continue
        is_good = match[2].lower() == "normal"
        stem = f"{match[1]}/" if match[1] else ""
        mask = masks.get(f"{stem}Data/Masks/Anomaly/{PurePosixPath(match[3]).stem}.png".lower())
        known = Known(
            mask=None if is_good else mask,
            product=match[1] or "",
            role=Role.TEST if name in tested else None,
        )
        samples.append(tree.sample(name, GOOD if is_good else defects.get(name) or "anomaly", known))
    notes = () if tested else ("There is no split_csv/1cls.csv here: no image is TEST yet.",)
    return Reading(tuple(samples), notes)


_ELPV = re.compile(r"^\s*\"?([^\s,\"]+\.\w+)\"?[\s,]+([\d.]+)[\s,]+(mono|poly)\w*\s*$", re.IGNORECASE)


def _elpv_list(tree: Tree) -> str | None:
    for name in tree.files:
        if PurePosixPath(name).name == "labels.csv":
            lines = tree.path(name).read_text("utf-8-sig", "replace").splitlines()
            if any(_ELPV.match(line) for line in lines[:3]):
                return name
    return None


@layout(
    "elpv",
    rank=21,
    recognise=lambda tree: _elpv_list(tree) is not None,
    looks_like="labels.csv (path, probability, mono|poly) and images/",
)
def read_elpv(tree: Tree) -> Reading:
    """Read ELPV solar cells (Buerhop-Lutz et al. 2018): 0 is good, 2/3 and 1 are defective.

    The experts' 'functional, but unsure' (1/3) has no label: parts to teach from must be good.
    """
    found = _elpv_list(tree)
    if found is None:
        return Reading(())
    folder = "" if "/" not in found else found.rsplit("/", 1)[0] + "/"
    samples = []
    for number, line in enumerate(tree.path(found).read_text("utf-8-sig", "replace").splitlines(), 1):
        if not (match := _ELPV.match(line)):
            continue
        name, probability = f"{folder}{match[1]}", float(match[2])
        if name not in tree.known:
            raise DataError(f"{tree.path(found)}, line {number}: there is no image {match[1]!r}")
        label = GOOD if probability == 0 else "defective" if probability > 0.5 else None
        samples.append(tree.sample(name, label, Known(product=match[3].lower())))
    unsure = sum(sample.label is None for sample in samples)
    note = f"{unsure} cells with a probability of about 1/3: the experts were unsure, so without a label."
    return Reading(tuple(samples), (note,) if unsure else ())


_LOOKOUT = re.compile(r"^(training|train|test)-images/(normal|anomaly)-[^/]+$", re.IGNORECASE)


@layout(
    "lookout",
    rank=22,
    recognise=lambda tree: any(_LOOKOUT.match(name) for name in tree.images),
    looks_like="training-images/normal-N.jpg|anomaly-N.jpg, mask-images/",
)
def read_lookout(tree: Tree) -> Reading:
    """Read the form of Lookout for Vision's examples."""
    masks = {PurePosixPath(name).stem: name for name in tree.images if name.split("/")[0] in MASK_NAMES}
    samples = []
    for name in tree.images:
        if match := _LOOKOUT.match(name):
            label = label_of(match[2])
            mask = None if label == GOOD else masks.get(PurePosixPath(name).stem)
            role = Role.TEST if match[1].lower() == "test" else None
            samples.append(tree.sample(name, label, Known(mask=mask, role=role)))
    return Reading(tuple(samples))
