"""The registry of methods: one decorator per method, found by name, listed without its extra being
installed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flawscope.core.errors import UsageError


class Kind(StrEnum):
    """What a method learns from."""

    ONE_CLASS = "one_class"
    SUPERVISED = "supervised"


@dataclass(frozen=True)
class Entry:
    """What is known of a method before anything of it is run."""

    name: str
    kind: Kind
    extra: str | None  # the optional part of the installation that fitting needs; None: the base install
    summary: str  # one line: what it does and what it is good for
    paper: str  # where it comes from
    method: type[Any]  # a class with a nested frozen dataclass `Config` and `fit(data, context)`


class Registry:
    """Methods by name. The only module state there is: filled by decorators when `flawscope.methods` is
    imported."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str, *, kind: Kind, summary: str, paper: str, extra: str | None = None
    ) -> Callable[[type[Any]], type[Any]]:
        """Return a class decorator that enters the method under `name`. Raises ValueError for a name in
        use."""

        def enter(method: type[Any]) -> type[Any]:
            if name in self._entries:
                raise ValueError(f"A method named {name!r} is registered already.")
            self._entries[name] = Entry(name, kind, extra, summary, paper, method)
            return method

        return enter

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise UsageError(
                f"There is no method named {name!r}",
                expected="one of " + ", ".join(sorted(self._entries)),
                remedy=did_you_mean(name, self._entries) or "See: flawscope methods",
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: (entry.kind, entry.name)))

    def __len__(self) -> int:
        return len(self._entries)


def did_you_mean(word: str, known: dict[str, Any] | list[str]) -> str:
    """Return `Did you mean 'x'?` for the nearest known word, or an empty text where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else ""


methods = Registry()
register = methods.register
