"""What a comparison comes to: rows with conclusions, cells, splits and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flawscope.core.cells import Outcome, Status
from flawscope.core.types import Json
from flawscope.decision.choosing import RULES, Wishes, concluded, recommendation
from flawscope.decision.compared import Row, rows_of

VERSION = 1
_BUSY = 1.5  # processes for each core, from which on clock times are in doubt


@dataclass(frozen=True, eq=False)
class Comparison:
    """A finished comparison, ready to be told, drawn and written."""

    rows: tuple[Row, ...]  # best first
    outcomes: tuple[Outcome, ...]
    products: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: Mapping[str, Mapping[str, int]]  # product -> role -> photographs, of the first seed
    wishes: Wishes = field(default_factory=Wishes)
    protocol: Mapping[str, Any] = field(default_factory=dict)  # threads, jobs, engine, calibration, ...
    notes: tuple[str, ...] = ()
    created: str = ""

    @property
    def tested(self) -> int:
        """How many photographs the models are compared on."""
        return sum(counts.get("test", 0) for counts in self.counts.values())

    @property
    def recommendation(self) -> tuple[str, ...]:
        """Which model to take, in sentences."""
        return recommendation(self.rows, photographs=self.tested, timed=not self.busy)

    @property
    def busy(self) -> float:
        """How many processes wanted each core while speed was measured, at worst; 0 where that was few
        enough, or where no system told."""
        return _worst_load(self.outcomes)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that cells ran on, in words; speed can be compared on one of them alone."""
        found = [one.facts.get("machine", {}) for one in self.outcomes if one.status is Status.OK]
        told = [f"{one.get('processor', 'unknown')}, {one.get('cores', '?')} cores" for one in found]
        return tuple(dict.fromkeys(told))

    def to_json(self) -> Json:
        """Return the documented JSON of `compare`."""
        return {
            "version": VERSION,
            "created": self.created,
            "products": list(self.products),
            "seeds": list(self.seeds),
            "counts": {product: dict(counts) for product, counts in self.counts.items()},
            "protocol": dict(self.protocol),
            "wishes": dict(vars(self.wishes)),
            "rules": list(RULES),
            "recommendation": list(self.recommendation),
            "notes": list(self.notes),
            "machines": list(self.machines),
            "rows": [row.to_json() for row in self.rows],
            "cells": [_cell(outcome) for outcome in self.outcomes],
        }


def compared(
    outcomes: Sequence[Outcome],
    *,
    counts: Mapping[str, Mapping[str, int]],
    wishes: Wishes,
    protocol: Mapping[str, Any],
    notes: Sequence[str] = (),
    created: str = "",
) -> Comparison:
    """Put outcomes side by side and conclude."""
    rows = concluded(rows_of(outcomes), wishes, timed=not _worst_load(outcomes))
    made = Comparison(
        rows=rows,
        outcomes=tuple(outcomes),
        products=tuple(dict.fromkeys(one.cell.product for one in outcomes)),
        seeds=tuple(dict.fromkeys(one.cell.seed for one in outcomes)),
        counts=counts,
        wishes=wishes,
        protocol=protocol,
        notes=tuple(notes),
        created=created,
    )
    return replace(made, notes=(*made.notes, *_of_speed(made)))


def _of_speed(made: Comparison) -> tuple[str, ...]:
    """Warn where times cannot be compared: several machines, or one that others kept busy."""
    warnings = []
    if len(made.machines) > 1:
        warnings.append(f"Cells ran on {len(made.machines)} kinds of machine: times cannot be compared.")
    if made.busy:
        warnings.append(
            f"The machine was busy while speed was measured: up to {made.busy:.1f} processes wanted each "
            "core. Clock times are too long and differ by chance; the processor's time stands."
        )
    return tuple(warnings)


def _worst_load(outcomes: Sequence[Outcome]) -> float:
    load = max((float(one.facts.get("load") or 0.0) for one in outcomes), default=0.0)
    return load if load > _BUSY else 0.0


def _cell(outcome: Outcome) -> Json:
    cell = outcome.cell
    return {
        "method": cell.method,
        "model": cell.model,
        "product": cell.product,
        "seed": cell.seed,
        "status": outcome.status.value,
        "reason": outcome.reason,
        "metrics": {name: metric.to_json() for name, metric in outcome.metrics.items()},
        "per_defect": {
            defect: {name: metric.to_json() for name, metric in metrics.items()}
            for defect, metrics in outcome.per_defect.items()
        },
        "seconds": round(outcome.seconds, 3),
        "folder": f"cells/{cell.key}",
        "settings": dict(cell.settings),
        "facts": dict(outcome.facts),
    }
