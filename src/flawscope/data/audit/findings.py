"""What an audit finds: findings of kinds, each with its photographs, numbers, words and a proposed remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flawscope.core.types import Array, Json, Role, Sample


class Severity(StrEnum):
    """How bad a finding is: an error makes a test or a lesson wrong, a warning wants a look."""

    ERROR = "error"
    WARNING = "warning"


class Action(StrEnum):
    """What `--fix` does with a photograph in the cleaned manifest; the files are never touched."""

    LEAVE_OUT = "leave out"
    MOVE = "move"
    DROP_MASK = "drop mask"


@dataclass(frozen=True)
class Remedy:
    """What is proposed for one photograph: `role` says where a moved one goes (None: no role)."""

    sample_id: str
    action: Action
    role: Role | None = None


@dataclass(frozen=True)
class Finding:
    """One thing found. `samples` are the ids of the photographs concerned, the one in question first, those
    it is compared with after it; `weight` ranks findings within a kind (greater is worse)."""

    kind: str
    severity: Severity
    samples: tuple[str, ...]
    words: str
    remedy: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    weight: float = 0.0
    remedies: tuple[Remedy, ...] = ()

    def to_json(self) -> Json:
        """Return the finding as JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity.value,
            "samples": list(self.samples),
            "words": self.words,
            "remedy": self.remedy,
            "numbers": {name: round(float(value), 6) for name, value in self.numbers.items()},
            "remedies": [
                {
                    "sample": one.sample_id,
                    "action": one.action.value,
                    "role": None if one.role is None else one.role.value,
                }
                for one in self.remedies
            ],
        }


@dataclass(frozen=True, eq=False)
class Measure:
    """One number for each photograph, as the page draws it: how far each is from its usual value, beyond
    which limits one counts as off, and who does. NaN where it was not measured."""

    name: str
    title: str
    values: Array  # float64 (n,)
    limits: tuple[float | None, float | None]
    off: Array  # bool (n,)


@dataclass(frozen=True, eq=False)
class Audit:
    """Everything an audit found in one data set."""

    folder: str
    layout: str
    alpha: float
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    seconds: float = 0.0

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one kind, the worst first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def counts(self) -> dict[Severity, int]:
        """Return how many findings there are of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in Severity}

    def worst(self) -> Severity | None:
        """Return the gravest severity found, or None."""
        return next((severity for severity, n in self.counts().items() if n), None)

    def to_json(self) -> Json:
        """Return the audit as JSON: counts first, then every finding."""
        kinds = Counter(finding.kind for finding in self.findings)
        return {
            "version": 1,
            "folder": self.folder,
            "layout": self.layout,
            "images": len(self.samples),
            "alpha": self.alpha,
            "severities": {severity.value: n for severity, n in self.counts().items()},
            "kinds": dict(kinds),
            "notes": list(self.notes),
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": round(self.seconds, 1),
        }


def concerned(findings: Sequence[Finding], kind: str) -> set[str]:
    """Return the ids of the photographs in question (the first of each finding) of one kind."""
    return {finding.samples[0] for finding in findings if finding.kind == kind and finding.samples}
