"""The registry of layouts: each is one reader function with a decorator that says how it is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flawscope.core.errors import UsageError
from flawscope.core.registry import did_you_mean
from flawscope.data.layouts.tree import Reading, Tree

Recognise = Callable[[Tree], bool]
Read = Callable[[Tree], Reading]


@dataclass(frozen=True)
class Layout:
    """One way in which data sets lie on disk."""

    name: str
    looks_like: str  # for people: the folders and names by which it is recognised
    rank: int  # layouts are tried from the lowest: the more particular first
    products: bool  # whether several may stand side by side, one folder a product
    recognise: Recognise
    read: Read


class Layouts:
    """Layouts by name, filled by decorators when `flawscope.data.layouts` is imported."""

    def __init__(self) -> None:
        self._layouts: dict[str, Layout] = {}

    def register(
        self, name: str, *, rank: int, looks_like: str, recognise: Recognise, products: bool = False
    ) -> Callable[[Read], Read]:
        """Return a decorator that enters a reader. Raises ValueError for a name in use."""

        def enter(read: Read) -> Read:
            if name in self._layouts:
                raise ValueError(f"A layout named {name!r} is registered already.")
            self._layouts[name] = Layout(name, looks_like, rank, products, recognise, read)
            return read

        return enter

    def __getitem__(self, name: str) -> Layout:
        if name not in self._layouts:
            raise UsageError(
                f"There is no layout named {name!r}",
                expected="one of " + ", ".join(layout.name for layout in self),
                remedy=did_you_mean(name, list(self._layouts)),
            )
        return self._layouts[name]

    def __iter__(self) -> Iterator[Layout]:
        return iter(sorted(self._layouts.values(), key=lambda layout: (layout.rank, layout.name)))


layouts = Layouts()
layout = layouts.register
