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
