"""The registry of formats, and what every writer is given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from flawscope.core import files
from flawscope.core.errors import DataError, UsageError
from flawscope.core.registry import did_you_mean
from flawscope.core.types import Sample
from flawscope.data.annotations.types import Annotated


@dataclass(frozen=True)
class Target:
    """Where annotations are written, and what is true of all of them.

    `photographs` is the folder below which the photographs' names lie. With `copy` each is copied beside its
    annotations, which trainers for YOLO and Pascal VOC expect.
    """

    folder: Path
    photographs: Path
    labels: tuple[str, ...]
    created: str  # ISO 8601, UTC
    source: str = ""  # the bundle's name and id, for people
    copy: bool = False
    known: Mapping[str, Sample] = field(default_factory=dict)  # by name: product, part, group, role

    @property
    def photographs_from_here(self) -> str:
        """The photographs' folder relative to the annotations' where one drive holds both, else in full; with
        forward slashes."""
        there = self.photographs.absolute()
        try:
            return Path(os.path.relpath(there, self.folder.absolute())).as_posix()
        except ValueError:  # another drive of Windows
            return there.as_posix()

    def place(self, name: str, stem: str) -> Path:
        """Return where a copy named `stem` of a photograph goes."""
        return self.folder / "images" / f"{stem}{PurePosixPath(name).suffix}"


# an iterable that begins anew each time: thousands of photographs are gone through, not held
Write = Callable[[Target, Iterable[Annotated]], Path]


@dataclass(frozen=True)
class Format:
    """One way to write annotations down."""

    name: str
    holds: str  # for people: what it keeps of an annotation
    write: Write  # returns what `flawscope train --data` is given


class Formats:
    """Formats by name, filled by decorators when `flawscope.data.annotations` is imported."""

    def __init__(self) -> None:
        self._formats: dict[str, Format] = {}

    def register(self, name: str, *, holds: str) -> Callable[[Write], Write]:
        """Return a decorator that enters a writer. Raises ValueError for a name in use."""

        def enter(write: Write) -> Write:
            if name in self._formats:
                raise ValueError(f"A format named {name!r} is registered already.")
            self._formats[name] = Format(name, holds, write)
            return write

        return enter

    def __getitem__(self, name: str) -> Format:
        if name not in self._formats:
            raise UsageError(
                f"There is no annotation format named {name!r}",
                expected="one of " + ", ".join(self._formats),
                remedy=did_you_mean(name, list(self._formats)),
            )
        return self._formats[name]

    def __iter__(self) -> Iterator[Format]:
        return iter(self._formats.values())


formats = Formats()
annotation_format = formats.register


@dataclass
class Stems:
    """Names without their ending, unique without regard to case, as formats need that keep a file a
    photograph."""

    copy: bool
    _taken: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, *, flat: bool = False) -> str:
        """Return the name of a photograph without its ending, with `flat` also without folders. A copy whose
        name is taken gets a number; raises DataError where there is no copy to rename."""
        stem = PurePosixPath(name).with_suffix("").as_posix()
        wished = stem.replace("/", "__") if flat else stem
        found, number = wished, 1
        while found.lower() in self._taken:
            if not (self.copy or flat):
                raise DataError(
                    f"{name} and {self._taken[found.lower()]} differ in their endings only",
                    expected="names of their own, as this format keeps a file a photograph",
                    remedy="Rename one, or write with --copy, which gives copies names of their own",
                )
            number += 1
            found = f"{wished}-{number}"
        self._taken[found.lower()] = name
        return found


def copied(target: Target, name: str, place: Path) -> None:
    """Copy a photograph to its place, whole or not at all."""
    with files.replacing(place) as temporary:
        shutil.copyfile(target.photographs / name, temporary)
