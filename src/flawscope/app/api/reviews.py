"""What people say of parts."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from flawscope.app.api.models import (
    AgreementOut,
    DisagreementOut,
    Model,
    Ok,
    QueueOut,
    ReviewOut,
    SurenessOut,
    failures,
)
from flawscope.app.envelope import answer
from flawscope.app.queueing import waiting_for
from flawscope.app.security.access import Engineer, Operator, station_of
from flawscope.app.station import Station
from flawscope.core.errors import ImageError, RequestError
from flawscope.imaging import headers
from flawscope.store.reviews import Said

router = APIRouter(tags=["reviews"])
Id = Annotated[str, Path(max_length=36)]
Short = Annotated[str, Field(max_length=100)]
_MASK_PIXELS = 100_000_000


class AnswerIn(Model):
    """An answer: good or bad, or not this one."""

    inspection_id: Annotated[str, Field(max_length=36)]
    answer: Literal["good", "bad", "skip"]
    defect: Short = ""
    mask: Annotated[
        str, Field(max_length=64_000_000, description="A PNG in base64, white where the flaw is.")
    ] = ""
    note: Annotated[str, Field(max_length=2000)] = ""
    seconds: Annotated[float | None, Field(ge=0, le=86400)] = None
    id: Annotated[UUID | None, Field(description="A UUID of the client's: sent twice, kept once.")] = None


class Claim(Model):
    """Which part somebody looks at."""

    inspection_id: Annotated[str, Field(max_length=36)]


class Parts(Model):
    """Which parts are asked for."""

    inspection_ids: Annotated[list[Short], Field(min_length=1, max_length=500)]


class Asked(Model):
    """How many parts went into the queue."""

    asked: int


class Claimed(Model):
    """Which part is held."""

    inspection_id: str


@router.get("/reviews/queue", summary="What waits for me", response_model=Ok[QueueOut], responses=failures())
def queue(
    request: Request,
    who: Operator,
    product: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """Return the parts that this person should look at, the highest risk first; among them now and then a
    known one, where the station is set so."""
    waiting, found = waiting_for(station_of(request), who.name, product=product, limit=limit)
    return answer({"waiting": waiting, "inspections": [one.to_json() for one in found]})


@router.post(
    "/reviews/claim", summary="I look at this one", response_model=Ok[Claimed], responses=failures(404, 409)
)
def claim(request: Request, who: Operator, part: Claim) -> Response:
    """Keep a part from others for two minutes. 409 names who has it."""
    store = station_of(request).store
    id = store.inspections.get(part.inspection_id).id
    store.reviews.claim(id, who.name)
    return answer({"inspection_id": id})


@router.post("/reviews", summary="Answer", response_model=Ok[ReviewOut], responses=failures(404, 409))
def review(request: Request, who: Operator, wish: AnswerIn) -> Response:
    """Keep an answer; an earlier one of the same person for the part no longer counts. Of a known part that
    was mixed in it is kept apart and changes nothing."""
    station = station_of(request)
    sent = None if wish.id is None else str(wish.id)
    answered = Said(wish.answer, wish.defect, "", wish.note, wish.seconds)
    known = station.store.checks.answer(wish.inspection_id, who.name, answered, id=sent)
    if known is not None:
        return answer(known.to_json())
    mask = keep_mask(station, wish.mask) if wish.mask else ""
    said = Said(wish.answer, wish.defect, mask, wish.note, wish.seconds)
    record = station.store.reviews.answer(
        wish.inspection_id,
        who.name,
        said,
        needed=station.options.review_needed,
        id=sent,
    )
    station.events.publish("review", {"inspection_id": record.inspection_id, "person": who.name})
    return answer(record.to_json())


@router.post(
    "/reviews/{id}/undo", summary="Take back", response_model=Ok[ReviewOut], responses=failures(404, 409)
)
def undo(request: Request, who: Operator, id: Id) -> Response:
    """Take an own answer back; the part waits again."""
    station = station_of(request)
    known = station.store.checks.undo(id, who.name)
    if known is not None:
        return answer(known.to_json())
    record = station.store.reviews.undo(id, who.name, needed=station.options.review_needed)
    return answer(record.to_json())


@router.get(
    "/reviews/mine", summary="My last answers", response_model=Ok[list[ReviewOut]], responses=failures()
)
def mine(request: Request, who: Operator, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> Response:
    """Return this person's last answers, the latest first."""
    return answer([one.to_json() for one in station_of(request).store.reviews.mine(who.name, limit=limit)])


@router.get(
    "/reviews/disagreements",
    summary="Where people differ",
    response_model=Ok[list[DisagreementOut]],
    responses=failures(),
)
def disagreements(
    request: Request, who: Engineer, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    """Return parts that one called good and another bad."""
    found = station_of(request).store.reviews.disagreements(limit=limit)
    return answer([one.to_json() for one in found])


@router.get("/reviews/agreement", summary="How often", response_model=Ok[AgreementOut], responses=failures())
def agreement(request: Request, who: Operator) -> Response:
    """Return how often people agree with each other, and the model with them."""
    return answer(station_of(request).store.reviews.agreement().to_json())


@router.get(
    "/reviews/known",
    summary="How surely people judge",
    response_model=Ok[list[SurenessOut]],
    responses=failures(),
)
def known_parts(request: Request, who: Engineer) -> Response:
    """Return how often each person says of known parts, shown again blind, what settled them."""
    return answer([one.to_json() for one in station_of(request).store.checks.sureness()])


@router.post("/reviews/ask", summary="Have parts looked at", response_model=Ok[Asked], responses=failures())
def ask(request: Request, who: Operator, parts: Parts) -> Response:
    """Put parts into the review queue that it would not have asked for."""
    asked = station_of(request).store.reviews.ask_for(list(parts.inspection_ids), who=who.name)
    return answer({"asked": asked})


def keep_mask(station: Station, text: str) -> str:
    """Keep a mask sent as base64 and return its sha256. Raises RequestError for what is no PNG."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        content = base64.b64decode(text, validate=True)
        header = headers.parse(content, name="The mask", max_pixels=_MASK_PIXELS)
    except (binascii.Error, ValueError, ImageError) as error:
        raise RequestError("The mask is no PNG in base64", found=str(error)[:200]) from None
    if header.format is not headers.Format.PNG:
        raise RequestError("The mask is no PNG", found=header.format.value)
    return station.store.images.add(content)
