"""Files to be judged: what lies under the paths that were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flawscope.core.errors import DataError

_LITTER = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Found:
    """A file to be judged, and its name below the folder that was given."""

    path: Path
    name: Path


def found_in(paths: Sequence[Path], *, besides: Path | None = None) -> list[Found]:
    """Return every file under the paths given, folders walked in order, each once; hidden files and those of
    file managers are left out, and whatever lies in `besides`. Raises DataError where there is none."""
    own = None if besides is None else besides.resolve()
    files: dict[Path, Found] = {}
    for path in paths:
        if not path.is_dir():
            files.setdefault(path, Found(path, Path(path.name)))
            continue
        for inside in sorted(path.rglob("*")):
            name = inside.relative_to(path)
            hidden = any(piece.startswith(".") for piece in name.parts)
            if hidden or name.name.lower() in _LITTER or not inside.is_file():
                continue
            if own is None or not inside.resolve().is_relative_to(own):
                files.setdefault(inside, Found(inside, name))
    if not files:
        listed = ", ".join(str(path) for path in paths)
        raise DataError(f"There is no file in {listed}", expected="photographs to judge")
    return list(files.values())
