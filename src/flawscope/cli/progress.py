"""Progress for people who wait at a terminal; nobody else sees it, and stdout never does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flawscope.core.progress import Progress, Silent, Stage

_SHORT = 0.5  # seconds; what took less leaves no line behind


@contextmanager
def progress(*, lines_follow: bool = False) -> Iterator[Progress]:
    """Yield a progress that draws bars on stderr where that is a terminal, and a silent one elsewhere.

    `lines_follow` says that results are printed meanwhile: on a terminal these are progress enough.
    """
    if not sys.stderr.isatty() or (lines_follow and sys.stdout.isatty()):
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    shown = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=18),
        MofNCompleteColumn(),
        TextColumn("{task.fields[time]}"),
        console=Console(stderr=True),
    )
    with shown:
        yield _Drawn(shown)


class _Drawn:
    """Stages as bars, one below the other."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Open a bar; a stage without a name or without steps is not shown."""
        if not name or total < 1:
            yield Silent()
            return
        task = self._bars.add_task(name, total=total, time="")
        start = time.monotonic()
        stage = _Bar(self._bars, task, total, start)
        try:
            yield stage
        finally:
            took = time.monotonic() - start
            if took < _SHORT:
                self._bars.remove_task(task)
            else:
                self._bars.update(task, time=f"{took:.0f} s")

    def note(self, text: str) -> None:
        """Print a sentence above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)


class _Bar:
    """One bar with the time that is left."""

    def __init__(self, bars: Any, task: Any, total: int, start: float) -> None:
        self._bars, self._task, self._total, self._start = bars, task, total, start
        self._done = 0

    def advance(self, steps: int = 1) -> None:
        """Count steps and say how long the rest will take."""
        self._done += steps
        took = time.monotonic() - self._start
        left = took / self._done * (self._total - self._done) if self._done else 0.0
        words = f"{took:.0f} s, {left:.0f} s to go" if left >= 1 else f"{took:.0f} s"
        self._bars.update(self._task, advance=steps, time=words)
