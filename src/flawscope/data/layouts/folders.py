"""Layouts that say it by folders: train and test, good and defects, one folder a class, or just images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.layouts.registry import layout
from flawscope.data.layouts.tree import (
    BAD_NAMES,
    GOOD_NAMES,
    HELD_OUT_NAMES,
    MASK_NAMES,
    SPLIT_NAMES,
    TEACH_NAMES,
    TEST_NAMES,
    Known,
    Masks,
    Reading,
    Tree,
    label_of,
    scan,
)

# MVTec AD 2 photographs one object under several lights: 000_regular, 000_overexposed, 000_shift_1 ...
_LIGHT = re.compile(r"^(\d+)_(regular|overexposed|underexposed|shift_\d+|mixed)$")


def _classes(tree: Tree) -> dict[str, set[str]]:
    """Return the class folders inside each split folder, all in lower case."""
    found: dict[str, set[str]] = {}
    for name in tree.images:
        pieces = name.lower().split("/")
        if len(pieces) >= 2 and pieces[0] in SPLIT_NAMES:
            inside = found.setdefault(pieces[0], set())
            if len(pieces) >= 3 and pieces[1] not in MASK_NAMES:
                inside.add(pieces[1])
    return found


def _teaches_only(tree: Tree, word: str) -> bool:
    classes = _classes(tree)
    teaching = set().union(*(classes[name] for name in TEACH_NAMES & classes.keys()))
    return teaching == {word}


def _is_btad(tree: Tree) -> bool:
    return _teaches_only(tree, "ok") and "ko" in _classes(tree).get("test", set())


def _is_mvtec(tree: Tree) -> bool:
    return _teaches_only(tree, "good")


def _is_split(tree: Tree) -> bool:
    return any(inside & (GOOD_NAMES | BAD_NAMES) for inside in _classes(tree).values())


@layout(
    "btad",
    rank=40,
    products=True,
    recognise=_is_btad,
    looks_like="train/ok, test/ok, test/ko, ground_truth/ko/<name>",
)
def read_btad(tree: Tree) -> Reading:
    """Read one product of BTAD (Mishra et al. 2021)."""
    return _read_split(tree)


@layout(
    "mvtec",
    rank=45,
    products=True,
    recognise=_is_mvtec,
    looks_like="train/good, test/<defect>, ground_truth/<defect>/<name>_mask.png (AD 2: test_public)",
)
def read_mvtec(tree: Tree) -> Reading:
    """Read one product of MVTec AD (Bergmann et al. 2019) or AD 2 (Heckler-Kram et al. 2025)."""
    reading = _read_split(tree)
    return replace(reading, samples=tuple(_with_light(sample) for sample in reading.samples))


@layout(
    "normal_abnormal",
    rank=50,
    products=True,
    recognise=_is_split,
    looks_like="train|test/normal|abnormal (or good|bad, ok|ng, or defects by name)",
)
def read_normal_abnormal(tree: Tree) -> Reading:
    """Read folders of classes inside folders of splits."""
    return _read_split(tree)


def _read_split(tree: Tree) -> Reading:
    masks = Masks.of(name for name in tree.images if _in_masks(name))
    samples: list[Sample] = []
    validation = unlabelled = maskless = 0
    for name in tree.images:
        pieces = name.split("/")
        split = pieces[0].lower()
        if len(pieces) < 2 or split not in SPLIT_NAMES or _in_masks(name):
            continue
        label = label_of(pieces[1]) if len(pieces) >= 3 else None
        mask = None
        if label is not None and label != GOOD:
            mask = masks.of_image(pieces[1], PurePosixPath(name).stem)
            maskless += mask is None
        validation += split in HELD_OUT_NAMES
        unlabelled += label is None
        role = Role.TEST if split in TEST_NAMES else None
        samples.append(tree.sample(name, label, Known(mask=mask, role=role)))
    notes = []
    if validation:
        notes.append(f"{validation} images of the validation folder serve like those of train.")
    if unlabelled:
        notes.append(f"{unlabelled} images lie in no class folder: without a label.")
    if masks.by_defect and maskless:
        notes.append(f"{maskless} defective images have no mask.")
    return Reading(tuple(samples), tuple(notes))


def _in_masks(name: str) -> bool:
    return any(piece in MASK_NAMES for piece in name.lower().split("/")[:-1])


def _with_light(sample: Sample) -> Sample:
    path = PurePosixPath(sample.id)
    match = _LIGHT.match(path.stem)
    return replace(sample, part=f"{path.parent}/{match[1]}") if match else sample


def _class_folders_of(tree: Tree) -> set[str]:
    folders = {name.split("/")[0].lower() for name in tree.images if "/" in name}
    return folders - MASK_NAMES


def _is_class_folders(tree: Tree) -> bool:
    # Without a folder that means good it could as well be one folder a day or a product: --layout says so.
    return bool(_class_folders_of(tree) & GOOD_NAMES)


@layout(
    "class_folders",
    rank=80,
    products=True,
    recognise=_is_class_folders,
    looks_like="good/, <defect>/, ... (one folder a class, one of them named good, normal or ok)",
)
def read_class_folders(tree: Tree) -> Reading:
    """Read one folder a class. A folder that is itself named `test` is all TEST, its masks beside it."""
    is_test = not tree.prefix and tree.root.name.lower() in TEST_NAMES
    masks = Masks.of(name for name in tree.images if _in_masks(name))
    outside = _masks_beside(tree) if is_test else {}
    samples = []
    for name in tree.images:
        if "/" not in name or _in_masks(name):
            continue
        folder, stem = name.split("/")[0], PurePosixPath(name).stem
        label = label_of(folder)
        mask = None if label == GOOD else masks.of_image(folder, stem)
        role = Role.TEST if is_test else None
        sample = tree.sample(name, label, Known(mask=mask, role=role))
        if label != GOOD and mask is None and (folder.lower(), stem.lower()) in outside:
            sample = replace(sample, mask_path=outside[folder.lower(), stem.lower()])
        samples.append(sample)
    notes = []
    if not any(sample.is_good for sample in samples):
        notes.append("No folder is named good, normal or ok: every class counts as a defect.")
    if is_test:
        notes.append(f"The folder is named {tree.root.name}: all of it is TEST.")
    return Reading(tuple(samples), tuple(notes))


def _masks_beside(tree: Tree) -> dict[tuple[str, str], str]:
    """Find `../ground_truth/<defect>/<name>_mask.png` of a test folder that was given alone."""
    folder = tree.root.parent / "ground_truth"
    if not folder.is_dir():
        return {}
    beside = scan(folder)
    masks = Masks.of(beside.images)
    return {key: beside.path(name).as_posix() for key, name in masks.by_defect.items()}


def _is_flat(tree: Tree) -> bool:
    return bool(tree.images) and not any("/" in name for name in tree.images)


@layout("flat", rank=99, recognise=_is_flat, looks_like="images of good parts, no folders")
def read_flat(tree: Tree) -> Reading:
    """Read a folder of images, all taken as good."""
    samples = tuple(tree.sample(name, GOOD) for name in tree.images)
    return Reading(samples, (f"{len(samples)} images without any label: taken as good.",))
