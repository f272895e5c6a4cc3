"""Layouts of labelling tools: COCO lists, YOLO's text files, Pascal VOC's XML, corrected or as they were
made.

An outline becomes a mask (drawn beside the annotations, see `data/annotations/masks.py`), a box does not:
which of its pixels are the flaw's, nobody said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role, Sample
from flawscope.data.annotations import yolo
from flawscope.data.annotations.coco import PHOTOGRAPHS, coco_values, read_coco
from flawscope.data.annotations.masks import FOLDER, mask_file
from flawscope.data.annotations.types import Annotated
from flawscope.data.annotations.voc import is_voc, read_voc
from flawscope.data.layouts.registry import layout
from flawscope.data.layouts.tree import (
    TEST_NAMES,
    Reading,
    Tree,
    id_of,
    is_image,
    label_of,
    merged,
    top_lists,
)
from flawscope.imaging.read import size_of


@dataclass
class _Collected:
    """Samples as they are read, and what is to be said of them."""

    folder: Path  # beside which masks are drawn
    samples: list[Sample] = field(default_factory=list)
    masks: int = 0
    boxes_only: int = 0

    def add(self, photograph: Annotated, place: Path, *, key: str, test: bool) -> None:
        """Enter one photograph with its label and, where its outlines are known, its mask."""
        label = GOOD if photograph.label is None else label_of(photograph.label)
        mask = None if label == GOOD else mask_file(photograph, self.folder)
        self.masks += mask is not None
        self.boxes_only += label != GOOD and mask is None
        self.samples.append(
            Sample(
                id=key,
                path=place.absolute().as_posix(),
                label=label,
                mask_path=None if mask is None else mask.absolute().as_posix(),
                role=Role.TEST if test else None,
            )
        )

    def reading(self, *notes: str) -> Reading:
        """Return everything, with what was assumed."""
        told = list(notes)
        if self.masks:
            place = (self.folder / FOLDER).as_posix()
            told.append(f"Outlines of {self.masks} images were drawn as masks into {place}.")
        if self.boxes_only:
            told.append(f"{self.boxes_only} defective images have no outline, or a box only: without a mask.")
        return Reading(tuple(self.samples), tuple(told))


def _coco_lists(tree: Tree) -> list[str]:
    return [name for name in top_lists(tree, ".json") if coco_values(tree.path(name)) is not None]


@layout(
    "coco",
    rank=60,
    recognise=lambda tree: bool(_coco_lists(tree)),
    looks_like="*.json with images, annotations and categories",
)
def read_coco_lists(tree: Tree) -> Reading:
    """Read the COCO lists of a folder."""
    return merged(tree, _coco_lists(tree), read_coco_list)


def read_coco_list(path: Path) -> Reading:
    """Read a COCO list: an image without annotations is good, else it carries its commonest category."""
    here = path.absolute().parent
    values = coco_values(path)
    info = (values or {}).get("info")
    stated = info.get(PHOTOGRAPHS) if isinstance(info, dict) else None
    own = [here / stated] if isinstance(stated, str) else []
    roots = [*own, here, here / "images", here.parent, here.parent / "images"]

    def find(name: str) -> tuple[Path, str]:
        for root in roots:
            if (root / name).is_file():
                return root / name, name if root in own else id_of(root / name, here)
        raise DataError(
            f"{path}: there is no image {name!r}", expected=f"it in {here} or an images folder there"
        )

    is_test = bool(TEST_NAMES & set(re.split(r"[/._-]", f"{here.name}/{path.stem}".lower())))
    found = _Collected(here)
    for photograph in read_coco(path, lambda name: size_of(find(name)[0]), values=values):
        place, key = find(photograph.name)
        found.add(photograph, place, key=key, test=is_test)
    return found.reading(f"{path.name}: images without annotations are good.")


def _yolo_classes(tree: Tree) -> str | None:
    """Return the file that names the classes, where there are label files beside it."""
    if not any(_is_label_file(name) for name in tree.files):
        return None
    top = [name for name in tree.files if "/" not in name and name.lower().endswith((".yaml", ".yml"))]
    listed = [name for name in tree.files if PurePosixPath(name).name.lower() == "classes.txt"]
    return next(iter([*top, *listed]), None)


def _is_label_file(name: str) -> bool:
    pieces = name.lower().split("/")
    return "labels" in pieces[:-1] and pieces[-1].endswith(".txt") and pieces[-1] != "classes.txt"


@layout(
    "yolo",
    rank=63,
    recognise=lambda tree: _yolo_classes(tree) is not None,
    looks_like="labels/*.txt with images/, data.yaml or classes.txt",
)
def read_yolo(tree: Tree) -> Reading:
    """Read YOLO's text files: an image without lines is good, else it carries its commonest class."""
    listed = _yolo_classes(tree)
    if listed is None:
        return Reading(())
    config = tree.path(listed)
    names = yolo.names_in(config)
    found = _Collected(config.absolute().parent)
    unlabelled = 0
    for place, key, label_file in _yolo_pairs(tree, yolo.photographs_of(config)):
        size_hw = size_of(place)
        unlabelled += label_file is None
        photograph = Annotated(key, size_hw)
        if label_file is not None:
            photograph = yolo.LabelFile(label_file, names).read(key, size_hw)
        test = bool(TEST_NAMES & set(key.lower().split("/")[:-1]))
        found.add(photograph, place, key=key, test=test)
    notes = ["Images without lines are good."]
    if unlabelled:
        notes.append(f"{unlabelled} images have no file of labels: taken as good, as YOLO has it.")
    return found.reading(*notes)


def _yolo_pairs(tree: Tree, photographs: Path | None) -> Iterator[tuple[Path, str, Path | None]]:
    """Yield image, id and file of labels: of the images in images/, then of those in the stated folder."""
    labels = {_stem(name, "labels"): name for name in tree.files if _is_label_file(name)}
    for name in tree.images:
        if "images" in name.lower().split("/")[:-1]:
            own = labels.pop(_stem(name, "images"), None)
            yield tree.path(name), f"{tree.prefix}{name}", None if own is None else tree.path(own)
    elsewhere: dict[Path, dict[str, str]] = {}
    for stem, label_file in labels.items():
        wanted = PurePosixPath(stem.split("\x1f", 1)[1])
        folder = (photographs or tree.path("images")) / wanted.parent
        if folder not in elsewhere:
            elsewhere[folder] = _images_in(folder)
        image = elsewhere[folder].get(wanted.name)
        if image is None:
            raise DataError(
                f"{tree.path(label_file)} has no image",
                expected="one of the same name in images/",
                remedy="Put the photographs into images/, beside labels/",
            )
        yield folder / image, (wanted.parent / image).as_posix(), tree.path(label_file)


def _stem(name: str, folder: str) -> str:
    """Return by what image and labels know each other: what stands before and after the folder's name,
    without the ending, the two kept apart."""
    pieces = name.split("/")
    place = [piece.lower() for piece in pieces[:-1]].index(folder)
    after = PurePosixPath(*pieces[place + 1 :]).with_suffix("").as_posix()
    return "/".join(pieces[:place]) + "\x1f" + after


def _images_in(folder: Path) -> dict[str, str]:
    """Return the images directly inside by their names without ending."""
    if not folder.is_dir():
        return {}
    names = sorted(inside.name for inside in folder.iterdir() if is_image(inside.name))
    return {PurePosixPath(name).stem: name for name in names}


def _voc_files(tree: Tree) -> list[str]:
    return [name for name in tree.files if name.lower().endswith(".xml")]


@layout(
    "voc",
    rank=72,
    recognise=lambda tree: any(is_voc(tree.path(name)) for name in _voc_files(tree)[:1]),
    looks_like="Annotations/*.xml with JPEGImages/",
)
def read_voc_files(tree: Tree) -> Reading:
    """Read Pascal VOC's files: one without objects is good, else its image carries the commonest name."""
    found = _Collected(tree.path("x").parent)
    find = _finder(tree)
    for name in _voc_files(tree):
        file = read_voc(tree.path(name))
        place, key = find(name, file.filename, file.path)
        test = bool(TEST_NAMES & set(key.lower().split("/")[:-1]))
        found.add(file.annotated, place, key=key, test=test)
    return found.reading("Images without objects are good, images without a file are left out.")


def _finder(tree: Tree) -> Callable[[str, str, str], tuple[Path, str]]:
    """Return what finds the photograph of an XML file: beside it, at the same place in another folder of the
    tree, or where the file says that it lies."""

    def find(xml: str, filename: str, stated: str) -> tuple[Path, str]:
        inside = PurePosixPath(*PurePosixPath(xml).parts[1:]).parent
        beside = PurePosixPath(xml).parent
        own = PurePosixPath(filename.replace("\\", "/")).name
        for folder in (
            beside,
            PurePosixPath("JPEGImages") / inside,
            PurePosixPath("images") / inside,
            PurePosixPath(),
        ):
            if (name := (folder / own).as_posix()) in tree.known:
                return tree.path(name), f"{tree.prefix}{name}"
        if stated and Path(stated).is_file():
            return Path(stated), id_of(Path(stated), tree.root)
        raise DataError(
            f"{tree.path(xml)}: there is no image {filename!r}",
            expected="it in JPEGImages/, images/ or beside the file",
        )

    return find
