"""How long work tells where it is, without knowing who listens (a terminal, a web page, nobody)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One running piece of work with a known number of steps."""

    def advance(self, steps: int = 1) -> None:
        """Say that `steps` more steps are done."""


class Progress(Protocol):
    """What a flow tells of itself while it works."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """Open a stage of `total` steps, to be used as a context manager."""

    def note(self, text: str) -> None:
        """Say one sentence to the person who waits."""


class Silent:
    """A progress that nobody listens to."""

    def advance(self, steps: int = 1) -> None:
        """Count nothing."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Open a stage that shows nothing."""
        yield self

    def note(self, text: str) -> None:
        """Say nothing."""
