"""What runs cells: those that are kept are taken from the cache, the others go to an engine.

An engine is one function: it is handed cells, the folder of each by its key, and limits, carries each out by
`work.carry_out` in a process of its own, puts the files where they belong (`Cache.keep`) and yields every
outcome as it comes. A cell that an engine cannot finish gets an outcome with the reason; an engine never
raises because of one cell.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flawscope.core.cells import Cell, Outcome, Status
from flawscope.flows.compare.work import OUTCOME, read_outcome

CELLS = "cells"


@dataclass(frozen=True)
class Limits:
    """What one cell may take: seconds, and MB of memory (None: without bound); and how many run at a time."""

    seconds: float = 7200.0
    memory_mb: float | None = None
    jobs: int = 1


@dataclass(frozen=True)
class Cache:
    """Finished cells by their key, each in a folder of its own."""

    root: Path

    def folder(self, cell: Cell) -> Path:
        """Return where a finished cell's files lie."""
        return self.root / CELLS / cell.key

    def workplace(self, cell: Cell) -> Path:
        """Return an empty folder to carry a cell out in; what a kill left there is removed."""
        place = self.root / "unfinished" / cell.key
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        return place

    def keep(self, cell: Cell, workplace: Path) -> None:
        """Put a finished cell, whose folder holds its outcome, in its place."""
        place = self.folder(cell)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        workplace.rename(place)

    def known(self, cell: Cell) -> Outcome | None:
        """Return the outcome of a cell that went well; what failed is tried again."""
        found = read_outcome(self.folder(cell), cell=cell)
        return found if found is not None and found.status is Status.OK else None

    def tidy(self) -> None:
        """Remove the places of unfinished cells."""
        shutil.rmtree(self.root / "unfinished", ignore_errors=True)


Engine = Callable[[Sequence[Cell], Cache, Limits], Iterator[Outcome]]
Told = Callable[[Outcome, bool], None]  # an outcome, and whether it was known before


def run(
    cells: Sequence[Cell], cache: Cache, *, engine: Engine, limits: Limits, told: Told | None = None
) -> tuple[Outcome, ...]:
    """Return the outcome of every cell, in their order; `told` hears of each as it comes. Cells of one key
    are carried out once."""
    found: dict[str, Outcome] = {}
    for cell in cells:
        known = cache.known(cell) if cell.key not in found else None
        if known is not None:
            found[cell.key] = known
            if told is not None:
                told(known, True)
    left = {cell.key: cell for cell in cells if cell.key not in found}
    for outcome in engine(tuple(left.values()), cache, limits):
        found[outcome.cell.key] = outcome
        if told is not None:
            told(outcome, False)
    cache.tidy()
    return tuple(_named(found[cell.key], cell) for cell in cells)


def _named(outcome: Outcome, cell: Cell) -> Outcome:
    """Return an outcome under the name by which this cell asked for it."""
    return outcome if outcome.cell == cell else Outcome.from_json(outcome.to_json(), cell=cell)


__all__ = ["CELLS", "OUTCOME", "Cache", "Engine", "Limits", "Told", "run"]
