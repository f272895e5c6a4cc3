"""What lies in a folder: one listing, looked at by every layout, so that a large data set is walked once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Role, Sample

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".webp",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pbm",
    }
)
GOOD_NAMES = frozenset(
    {"good", "normal", "ok", "free", "defect_free", "defect-free", "no_defect", "pass", "io"}
)
BAD_NAMES = frozenset(
    {"bad", "abnormal", "anomaly", "anomalous", "ng", "ko", "defect", "defective", "fail", "nio", "nok"}
)
TEACH_NAMES = frozenset({"train", "training"})
HELD_OUT_NAMES = frozenset({"val", "valid", "validation"})
TEST_NAMES = frozenset({"test", "testing", "test_public", "test_private", "test_private_mixed"})
SPLIT_NAMES = TEACH_NAMES | HELD_OUT_NAMES | TEST_NAMES
MASK_NAMES = frozenset({"ground_truth", "ground-truth", "groundtruth", "mask", "masks", "mask-images"})

_MASK_ENDING = re.compile(r"[_-](mask|gt|label)$", re.IGNORECASE)


@dataclass(frozen=True)
class Tree:
    """The files under a folder. `prefix` is empty, or the product's folder with a slash, and every name in
    `files` is relative to it, with forward slashes, sorted."""

    root: Path
    files: tuple[str, ...]
    prefix: str = ""

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Names of the files that are images by their ending."""
        return tuple(name for name in self.files if is_image(name))

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders directly inside that hold files at any depth, sorted."""
        return tuple(sorted({name.split("/", 1)[0] for name in self.files if "/" in name}))

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all files, for quick membership."""
        return frozenset(self.files)

    def child(self, folder: str) -> Tree:
        """Return the tree of one folder directly inside."""
        inside = tuple(name[len(folder) + 1 :] for name in self.files if name.startswith(f"{folder}/"))
        return Tree(self.root, inside, f"{self.prefix}{folder}/")

    def path(self, name: str) -> Path:
        """Return the full path of a file of this tree."""
        return self.root / f"{self.prefix}{name}"

    def sample(self, name: str, label: str | None, known: Known | None = None) -> Sample:
        """Make the sample of one image file of this tree."""
        known = known or Known()
        return Sample(
            id=f"{self.prefix}{name}",
            path=self.path(name).as_posix(),
            label=label,
            product=known.product,
            mask_path=None if known.mask is None else self.path(known.mask).as_posix(),
            part=known.part,
            group=known.group,
            role=known.role,
        )


@dataclass(frozen=True)
class Known:
    """What a layout knows of an image beyond its label; `mask` is a name in the same tree."""

    mask: str | None = None
    product: str = ""
    part: str = ""
    group: str = ""
    role: Role | None = None


@dataclass(frozen=True)
class Reading:
    """What a layout's reader found: the samples, and sentences for the person who gave the folder."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Masks:
    """Mask files found by the image they belong to: folder of the defect and stem, else the stem alone."""

    by_defect: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str]) -> Masks:
        """Index mask files `.../<defect>/<stem>[_mask].png`, without regard to case."""
        found: dict[tuple[str, str], str] = {}
        for name in names:
            path = PurePosixPath(name)
            found[(path.parent.name.lower(), _MASK_ENDING.sub("", path.stem).lower())] = name
        return cls(found)

    def of_image(self, defect: str, stem: str) -> str | None:
        """Return the mask file of an image, or None."""
        return self.by_defect.get((defect.lower(), stem.lower()))


def scan(folder: Path) -> Tree:
    """List the files under `folder`, links followed once; hidden files, `__MACOSX` and `Thumbs.db` left
    out."""
    root = folder.absolute()
    return Tree(root, tuple(sorted(_walk(root))))


def _walk(root: Path) -> Iterator[str]:
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        relative = Path(place).relative_to(root)
        for name in names:
            if not name.startswith(".") and name.lower() not in {"thumbs.db", "desktop.ini"}:
                yield (relative / name).as_posix()


def is_image(name: str) -> bool:
    """Say whether a file is an image by its ending."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def label_of(name: str) -> str:
    """Return GOOD for a folder or word that means good, else the word as the defect's name."""
    word = name.strip()
    lower = word.lower()
    if lower in GOOD_NAMES:
        return GOOD
    return lower if lower in BAD_NAMES else word


def top_lists(tree: Tree, suffix: str) -> list[str]:
    """Return the list files directly inside, or one folder down (annotations/, train/)."""
    return [name for name in tree.files if name.lower().endswith(suffix) and name.count("/") <= 1]


def id_of(place: Path, root: Path) -> str:
    """Return a photograph's path below `root`, or in full where it lies elsewhere."""
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else place.as_posix()


def merged(tree: Tree, names: list[str], read: Callable[[Path], Reading]) -> Reading:
    """Read several lists of one folder; ids become relative to the folder that was given."""
    samples: dict[str, Sample] = {}
    notes: list[str] = []
    for name in names:
        reading = read(tree.path(name))
        notes += reading.notes
        for sample in reading.samples:
            known = replace(sample, id=id_of(Path(sample.path), tree.root))
            if samples.setdefault(known.id, known) != known:
                raise DataError(
                    f"{known.id} stands in two lists that disagree",
                    found=", ".join(names),
                    remedy="Give one of the lists by itself",
                )
    return Reading(tuple(samples.values()), tuple(notes))
