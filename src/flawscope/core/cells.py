"""A cell: one model taught on one product with one seed, tested once; and what came of it.

This is the contract of everything that runs cells. A cell holds plain values alone, so that it can be sent
anywhere; whoever carries it out gives back an outcome, plain values too, and a folder of files. A cell's key
names its content: what is measured, on which data, by which code. Two cells of one key have one outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flawscope.core.types import GOOD, Json, Metric

VERSION = 1


class Status(StrEnum):
    """What became of a cell: `skipped` needs something that is not here, `failed` was tried in vain."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Measuring:
    """How speed is measured and what is drawn."""

    batch: int = 8  # photographs judged together where throughput is measured
    warm_up: int = 3  # verdicts before the clock counts
    repeats: int = 30  # verdicts that are timed one by one
    pictures: int = 60  # test photographs whose heat map is drawn
    side_px: int = 240  # longer side of a drawn heat map

    def to_json(self) -> Json:
        """Return the values as JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Cell:
    """What is to be measured; everything that decides the outcome stands in `key`."""

    key: str  # hexadecimal, a name for a folder
    model: str  # the name in the table
    method: str
    product: str
    seed: int
    manifest: str  # the list of photographs with roles, the same for all models
    settings: Mapping[str, Any] = field(default_factory=dict)  # of TrainSettings but data, method and seed
    measuring: Measuring = field(default_factory=Measuring)
    threads: int = 1
    weights_dir: str | None = None
    device: str = "auto"
    mask_above: int | None = None

    @property
    def label(self) -> str:
        """Name the cell to people."""
        place = f" on {self.product}" if self.product else ""
        return f"{self.model}{place}, seed {self.seed}"

    def to_json(self) -> Json:
        """Return all of the cell as JSON."""
        values = {name: value for name, value in vars(self).items() if name != "measuring"}
        return values | {"settings": dict(self.settings), "measuring": self.measuring.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cell:
        """Read what `to_json` wrote."""
        return cls(**{**values, "measuring": Measuring(**values["measuring"])})


@dataclass(frozen=True)
class Scored:
    """One test photograph's score and verdict by one model."""

    id: str
    label: str | None
    part: str  # photographs of one part share it
    score: float | None
    verdict: str | None  # OK, REVIEW, NG; None: not judged

    @property
    def is_bad(self) -> bool:
        """Whether the label names a defect."""
        return self.label is not None and self.label != GOOD

    def to_json(self) -> Json:
        """Return the values as JSON."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a cell. Without `Status.OK` there is a reason and not one number."""

    cell: Cell
    status: Status
    reason: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    per_defect: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    samples: tuple[Scored, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)  # sample's id -> file in the cell's folder
    facts: Mapping[str, Any] = field(default_factory=dict)  # machine, canvas, promise, stages, ...
    seconds: float = 0.0  # of the whole cell

    def __post_init__(self) -> None:
        if (self.status is Status.OK) == bool(self.reason):
            raise ValueError("an outcome has a reason where, and only where, it is not ok")
        if self.status is not Status.OK and self.metrics:
            raise ValueError("what failed has no numbers")

    def to_json(self) -> Json:
        """Return cell and outcome as JSON."""
        return {
            "version": VERSION,
            "cell": self.cell.to_json(),
            "status": self.status.value,
            "reason": self.reason,
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "per_defect": {
                defect: {name: metric.to_json() for name, metric in metrics.items()}
                for defect, metrics in self.per_defect.items()
            },
            "samples": [sample.to_json() for sample in self.samples],
            "pictures": dict(self.pictures),
            "facts": dict(self.facts),
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, cell: Cell | None = None) -> Outcome:
        """Read what `to_json` wrote; `cell` takes the place of the one that was written (the same content may
        be asked for under another name). Raises ValueError for another version."""
        if values.get("version") != VERSION:
            raise ValueError(f"an outcome of version {VERSION} is expected, not {values.get('version')}")
        return cls(
            cell=cell or Cell.from_json(values["cell"]),
            status=Status(values["status"]),
            reason=values["reason"],
            metrics=_metrics(values["metrics"]),
            per_defect={defect: _metrics(metrics) for defect, metrics in values["per_defect"].items()},
            samples=tuple(Scored(**sample) for sample in values["samples"]),
            pictures=values["pictures"],
            facts=values["facts"],
            seconds=values["seconds"],
        )


def _metrics(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    return {name: Metric(**metric) for name, metric in values.items()}
