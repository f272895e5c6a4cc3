"""What the store takes and gives: one frozen record a kind, each with its documented JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flawscope.core.types import Inspection, Json
from flawscope.store.clock import iso, iso_or_none

NOT_JUDGED = "NOT JUDGED"
VERDICTS = ("OK", "REVIEW", "NG", NOT_JUDGED)


class QueueState(StrEnum):
    """Where an inspection stands in the review queue."""

    NO = "no"  # nobody need look
    WAITING = "waiting"
    ANSWERED = "answered"  # by one person
    SETTLED = "settled"  # by two, or one where one is enough


QUEUE_NUMBERS = {QueueState.NO: 0, QueueState.WAITING: 1, QueueState.ANSWERED: 2, QueueState.SETTLED: 3}
QUEUE_STATES = {number: state for state, number in QUEUE_NUMBERS.items()}


@dataclass(frozen=True)
class Origin:
    """Where a photograph comes from, as the client says; empty is not known."""

    station: str = ""
    product: str = ""
    lot: str = ""
    part: str = ""
    name: str = ""  # of the file
    person: str = ""  # who sent it


@dataclass(frozen=True, eq=False)
class InspectionRecord:
    """One inspection as it is kept."""

    id: str  # a UUID
    at_us: int
    origin: Origin
    bundle_id: str
    verdict: str  # OK, REVIEW, NG or NOT JUDGED
    score: float | None
    p_value: float | None
    risk: float | None  # 0 to 100
    defect: str  # the likeliest class; empty: none
    error_code: str
    image_sha256: str
    image_bytes: int  # 0 once retention has freed it
    queue: QueueState
    detail: Mapping[str, Any] = field(default_factory=dict)
    heat_png: bytes | None = None  # not read back with the record, see `Inspections.heat`
    sampled: bool = False  # a part that passed, drawn at random for later calibrations
    seq: int = 0  # given by the database

    def to_json(self) -> Json:
        """Return the documented JSON of a kept inspection."""
        origin = self.origin
        return {
            "id": self.id,
            "at": iso(self.at_us),
            "station": origin.station,
            "product": origin.product,
            "lot": origin.lot,
            "part": origin.part,
            "name": origin.name,
            "person": origin.person,
            "bundle_id": self.bundle_id,
            "verdict": None if self.verdict == NOT_JUDGED else self.verdict,
            "error": self.detail.get("error"),
            "score": self.score,
            "p_value": self.p_value,
            "risk": self.risk,
            "band": self.detail.get("band"),
            "factors": self.detail.get("factors"),
            "defect": self.defect or None,
            "probabilities": self.detail.get("probabilities"),
            "regions": self.detail.get("regions", []),
            "thresholds": self.detail.get("thresholds"),
            "size_hw": self.detail.get("size_hw"),
            "timings_ms": self.detail.get("timings_ms", {}),
            "warnings": self.detail.get("warnings", []),
            "image_sha256": self.image_sha256,
            "image_kept": self.image_bytes > 0,
            "queue": self.queue.value,
        }


@dataclass(frozen=True)
class Risk:
    """How urgent a part is, with what made it so."""

    risk: float  # 0 to 100
    band: str
    factors: tuple[tuple[str, float | None, float], ...]  # name, value, points


def detail_of(inspection: Inspection, risk: Risk | None) -> Json:
    """Return what of an inspection is only shown, as JSON."""
    thresholds, fault = inspection.thresholds, inspection.error
    return {
        "error": None if fault is None else {"code": fault.code, "message": fault.message},
        "probabilities": None if inspection.probabilities is None else dict(inspection.probabilities),
        "regions": [region.to_json(contour=True) for region in inspection.regions],
        "thresholds": None if thresholds is None else thresholds.to_json(),
        "size_hw": None if inspection.size_hw is None else list(inspection.size_hw),
        "timings_ms": {name: round(value, 3) for name, value in inspection.timings_ms.items()},
        "warnings": list(inspection.warnings),
        "band": None if risk is None else risk.band,
        "factors": None
        if risk is None
        else [{"name": name, "value": value, "points": points} for name, value, points in risk.factors],
    }


@dataclass(frozen=True)
class BundleRecord:
    """A bundle that the station knows."""

    id: str
    sha256: str
    name: str
    product: str
    method: str
    parent: str
    state: str  # line, shadow or kept
    size_bytes: int
    created: str
    added_us: int
    added_by: str

    def to_json(self) -> Json:
        """Return the documented JSON of a bundle."""
        return {
            "id": self.id,
            "sha256": self.sha256,
            "name": self.name,
            "product": self.product,
            "method": self.method,
            "parent": self.parent or None,
            "state": self.state,
            "size_bytes": self.size_bytes,
            "created": self.created,
            "added": iso(self.added_us),
            "added_by": self.added_by,
        }


@dataclass(frozen=True)
class Activation:
    """A bundle's change of state, with who and why."""

    seq: int
    product: str
    bundle_id: str
    state: str
    at_us: int
    person: str
    reason: str

    def to_json(self) -> Json:
        """Return the documented JSON of a change of state."""
        return {
            "seq": self.seq,
            "product": self.product,
            "bundle_id": self.bundle_id,
            "state": self.state,
            "at": iso(self.at_us),
            "person": self.person,
            "reason": self.reason,
        }


class RoleName(StrEnum):
    """What a person may do; each may what the ones before may."""

    OPERATOR = "operator"  # inspect, review, read
    ENGINEER = "engineer"  # teach, set limits, activate, acknowledge
    ADMIN = "admin"  # people, tokens, settings, audit log, retention

    @property
    def rank(self) -> int:
        """0, 1 or 2: who has more may more."""
        return list(RoleName).index(self)


@dataclass(frozen=True)
class PersonRecord:
    """A person who may log in."""

    name: str
    role: RoleName
    created_us: int
    disabled_us: int | None
    epoch: int
    password: str = field(default="", repr=False)  # argon2

    def to_json(self) -> Json:
        """Return the documented JSON of a person; no password."""
        return {
            "name": self.name,
            "role": self.role.value,
            "created": iso(self.created_us),
            "disabled": iso_or_none(self.disabled_us),
        }


@dataclass(frozen=True)
class TokenRecord:
    """A program's key, without the key."""

    id: str
    name: str
    person: str
    role: RoleName
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    used_us: int | None

    def to_json(self) -> Json:
        """Return the documented JSON of a token; not the token."""
        return {
            "id": self.id,
            "name": self.name,
            "person": self.person,
            "role": self.role.value,
            "created": iso(self.created_us),
            "expires": iso_or_none(self.expires_us),
            "revoked": iso_or_none(self.revoked_us),
            "used": iso_or_none(self.used_us),
        }


@dataclass(frozen=True)
class AuditEntry:
    """One link of the audit log."""

    seq: int
    at_us: int
    who: str
    action: str
    subject: str
    detail: str  # canonical JSON
    previous: str
    digest: str

    def to_json(self) -> Json:
        """Return the documented JSON of an entry; `detail` is text, as it was hashed."""
        return {
            "seq": self.seq,
            "at": iso(self.at_us),
            "who": self.who,
            "action": self.action,
            "subject": self.subject,
            "detail": self.detail,
            "digest": self.digest,
        }
