"""What the OpenAPI document says of requests and answers. Answers are written by the records' `to_json`; that
they keep to these models is checked by tests."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Data = TypeVar("Data")


class Model(BaseModel):
    """Something with exactly these fields."""

    model_config = ConfigDict(extra="forbid")


class Ok(Model, Generic[Data]):
    """An answer."""

    ok: Literal[True]
    data: Data


class ErrorBody(Model):
    """What went wrong, in four parts, with a stable code."""

    code: str
    message: str
    expected: str
    found: str
    remedy: str


class Failed(Model):
    """An error."""

    ok: Literal[False]
    error: ErrorBody


class FaultOut(Model):
    """Why a picture was not judged."""

    code: str
    message: str


class RegionOut(Model):
    """One odd place, in pixels of the picture."""

    box_xyxy: list[int] = Field(min_length=4, max_length=4)
    area_px: int
    peak: float
    mean: float
    contour: list[list[int]]


class ThresholdsOut(Model):
    """Above these a part is odd."""

    ng: float | None
    review: float | None
    pixel: float


class FactorOut(Model):
    """A reason for a risk."""

    name: str
    value: float | None
    points: float


class InspectionOut(Model):
    """One kept inspection."""

    id: str
    at: str
    station: str
    product: str
    lot: str
    part: str
    name: str
    person: str
    bundle_id: str
    verdict: Literal["OK", "REVIEW", "NG"] | None
    error: FaultOut | None
    score: float | None
    p_value: float | None
    risk: float | None
    band: Literal["low", "medium", "high", "critical"] | None
    factors: list[FactorOut] | None
    defect: str | None
    probabilities: dict[str, float] | None
    regions: list[RegionOut]
    thresholds: ThresholdsOut | None
    size_hw: list[int] | None
    timings_ms: dict[str, float]
    warnings: list[str]
    image_sha256: str
    image_kept: bool
    queue: Literal["no", "waiting", "answered", "settled"]


_WORDS = {
    400: "The request contradicts itself.",
    401: "Nobody is logged in.",
    403: "Not allowed, or asked for by another site.",
    404: "Not there.",
    405: "Not done this way.",
    408: "The body took too long to arrive.",
    409: "It contradicts what is there.",
    413: "Too large.",
    415: "A kind of body that is not understood.",
    422: "Understood, but it cannot be done; see the error's four parts.",
    429: "Too many tries; see Retry-After.",
    503: "Full, or the store is out of reach; see Retry-After.",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route may answer beside its data: what every route may, and `statuses`."""
    every = (400, 401, 403, 408, 413, 422, 503)
    return {
        status: {"model": Failed, "description": _WORDS[status]} for status in sorted({*every, *statuses})
    }


class SessionOut(Model):
    """Who asks."""

    name: str
    role: Literal["operator", "engineer", "admin"]
    local: bool
    csrf: str | None = Field(
        description="To be sent back in X-CSRF-Token with every change; null: not needed."
    )


class CountsOut(Model):
    """Inspections by verdict."""

    ok: int
    review: int
    ng: int
    not_judged: int
    total: int
    yield_: float | None = Field(alias="yield")


class GroupOut(Model):
    """The counts of a lot, product, station, defect or bundle."""

    name: str
    counts: CountsOut
    first: str
    last: str


class BucketOut(Model):
    """The counts of one span."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    from_: str = Field(alias="from")
    to: str
    counts: CountsOut


class DefectOut(Model):
    """How often a defect was the likeliest among REVIEW and NG."""

    defect: str
    count: int


class PageOut(Model):
    """Some inspections, newest first."""

    inspections: list[InspectionOut]
    after: str | None = Field(description="The cursor of the next page; null: this was the last.")


class BatchItem(Model):
    """What became of one file."""

    name: str
    inspection: InspectionOut | None
    error: ErrorBody | None


class BatchOut(Model):
    """What became of all files, in their order."""

    items: list[BatchItem]
    counts: CountsOut


class BundleOut(Model):
    """A bundle."""

    id: str
    sha256: str
    name: str
    product: str
    method: str
    parent: str | None
    state: Literal["line", "shadow", "kept"]
    size_bytes: int
    created: str
    added: str
    added_by: str


class BundleDetail(BundleOut):
    """A bundle with what it promises."""

    card: str
    promise: dict[str, Any]
    thresholds: ThresholdsOut
    classes: list[str]
    settings: dict[str, Any]
    counts: dict[str, int]


class ActivationOut(Model):
    """A bundle's change of state."""

    seq: int
    product: str
    bundle_id: str
    state: Literal["line", "shadow", "kept"]
    at: str
    person: str
    reason: str


class ShadowOut(Model):
    """A verdict of a bundle in the shadow that differs from the line's."""

    inspection_id: str
    bundle_id: str
    verdict: str
    line_verdict: str
    score: float | None
    p_value: float | None
    defect: str | None
    at: str


class ShadowTable(Model):
    """How often line and shadow said what, and where they differ."""

    counts: list[ShadowCount]
    disagreements: list[ShadowOut]


class ShadowCount(Model):
    """How often the line said one thing and the shadow another."""

    line: str
    shadow: str
    count: int


class ReviewOut(Model):
    """An answer of a reviewer."""

    id: str
    inspection_id: str
    person: str
    answer: Literal["good", "bad", "skip"]
    defect: str | None
    mask_sha256: str | None
    note: str
    seconds: float | None
    at: str
    undone: str | None
    learnt_by: str | None


class QueueOut(Model):
    """What waits for this person."""

    waiting: int
    inspections: list[InspectionOut]


class DisagreementOut(Model):
    """A part on which people do not agree."""

    inspection: InspectionOut
    answers: list[ReviewOut]


class AgreementOut(Model):
    """How often people, and model and people, agree."""

    twice: int
    agreed: int
    model_ok_bad: int
    model_ng_good: int
    reviewed: int


class SurenessOut(Model):
    """How often a person says of known parts what settled them."""

    person: str
    known: int
    agreed: int


class PersonOut(Model):
    """A person who may log in."""

    name: str
    role: Literal["operator", "engineer", "admin"]
    created: str
    disabled: str | None


class TokenOut(Model):
    """A program's key, without the key."""

    id: str
    name: str
    person: str
    role: Literal["operator", "engineer", "admin"]
    created: str
    expires: str | None
    revoked: str | None
    used: str | None


class NewTokenOut(TokenOut):
    """A new token; `token` is shown this once."""

    token: str


class AuditOut(Model):
    """One entry of the audit log."""

    seq: int
    at: str
    who: str
    action: str
    subject: str
    detail: str
    digest: str


class ChainOut(Model):
    """Where a chain that holds ends."""

    entries: int
    head: str


class AlarmOut(Model):
    """An alarm."""

    seq: int
    kind: str
    product: str
    station: str
    bundle_id: str
    at: str
    detail: dict[str, Any]
    acknowledged: str | None
    person: str
    cause: str
    note: str


class FreedOut(Model):
    """What was freed, or would be."""

    images: int
    bytes: int
    by_verdict: dict[str, int]


class DiskOut(Model):
    """What images take, and what is free."""

    image_bytes: int
    images: int
    free_bytes: int
    total_bytes: int


class RetentionOut(Model):
    """The disk, and what the rules would free now."""

    disk: DiskOut
    plan: FreedOut


ShadowTable.model_rebuild()
