"""What an annotating run has done so far: JSON lines, one a photograph, appended as they come.

The first line says by which bundle and settings. A run that was stopped goes on after what stands here, and
every format is written from it, a photograph at a time. It also keeps what the formats have no room for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flawscope.core import files
from flawscope.core.errors import UsageError
from flawscope.core.types import Fault, Json, Verdict
from flawscope.data.annotations.types import Annotated, Annotation

VERSION = 1
_HEADER = "flawscope_annotations"


@dataclass(frozen=True, eq=False)
class Entry:
    """One photograph: its verdict and what is marked on it, or why it was not judged."""

    name: str
    stamp: tuple[int, int]  # bytes, and nanoseconds of its last change: by these it is known again
    verdict: Verdict | None
    error: Fault | None = None
    p_value: float | None = None
    score: float | None = None
    size_hw: tuple[int, int] | None = None
    annotations: tuple[Annotation, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def annotated(self) -> Annotated:
        """The photograph with its annotations. Raises ValueError for one that was not judged."""
        if self.size_hw is None:
            raise ValueError(f"{self.name} was not judged")
        return Annotated(self.name, self.size_hw, self.annotations)

    def to_json(self) -> Json:
        """Return the line."""
        return {
            "image": self.name,
            "stamp": list(self.stamp),
            "verdict": None if self.verdict is None else self.verdict.value,
            "error": None if self.error is None else vars(self.error),
            "p_value": self.p_value,
            "score": self.score,
            "size_hw": None if self.size_hw is None else list(self.size_hw),
            "annotations": [one.to_json() for one in self.annotations],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Entry:
        """Read what `to_json` wrote."""
        size, error = values["size_hw"], values["error"]
        return cls(
            values["image"],
            (values["stamp"][0], values["stamp"][1]),
            None if values["verdict"] is None else Verdict(values["verdict"]),
            None if error is None else Fault(**error),
            values["p_value"],
            values["score"],
            None if size is None else (size[0], size[1]),
            tuple(Annotation.from_json(one) for one in values["annotations"]),
            tuple(values["warnings"]),
        )


class Journal:
    """The file of one run, opened to go on with."""

    def __init__(self, path: Path, recipe: Json) -> None:
        """Take up the file, or begin it. `recipe` says what decides every line. Raises UsageError where the
        file is of another recipe or no journal."""
        self.path = path
        self._lines: dict[str, int] = {}  # the photographs of this run, by the line that counts
        self._earlier: dict[str, tuple[int, tuple[int, int]]] = {}
        self._count = 1
        header = {_HEADER: VERSION, **recipe}
        if path.is_file():
            self._take_up(header)
        else:
            files.write_text(path, json.dumps(header) + "\n")
        self._stream: IO[str] = path.open("a", encoding="utf-8", newline="\n")

    def _take_up(self, header: Json) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # a line that a kill cut off
            files.write_bytes(self.path, whole)
        lines = whole.decode("utf-8").split("\n")
        try:
            found = json.loads(lines[0])
        except json.JSONDecodeError:
            found = None
        if found != json.loads(json.dumps(header)):
            raise UsageError(
                f"{self.path} is of another run",
                expected="the same model, settings and version, to go on with it",
                remedy="Choose another folder, or remove this one",
            )
        for number, line in enumerate(lines[1:], 1):
            if line:
                values = json.loads(line)
                self._earlier[values["image"]] = (number, (values["stamp"][0], values["stamp"][1]))
                self._count = number + 1

    def knows(self, name: str, stamp: tuple[int, int]) -> bool:
        """Say whether a photograph was done by an earlier run and has not changed; then its line counts."""
        number, seen = self._earlier.get(name, (0, (-1, -1)))
        if not number or seen != stamp:
            return False
        self._lines[name] = number
        return True

    def add(self, entry: Entry) -> None:
        """Append a photograph; the file holds it when this returns."""
        self._stream.write(json.dumps(entry.to_json(), allow_nan=False) + "\n")
        self._stream.flush()
        self._lines[entry.name] = self._count
        self._count += 1

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the photographs of this run in the order of the file, each read when it is asked for."""
        counting = set(self._lines.values())
        with self.path.open(encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream):
                if number in counting:
                    yield Entry.from_json(json.loads(line))
