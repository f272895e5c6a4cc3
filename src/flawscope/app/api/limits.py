"""Limits moved by hand: a new version of a bundle, which names the old one, with who and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from flawscope.app.api.models import Model, Ok, failures
from flawscope.app.envelope import answer
from flawscope.app.security.access import Engineer, Who, station_of
from flawscope.app.station import Station
from flawscope.app.testing import untested_answers
from flawscope.core.errors import ConflictError
from flawscope.flows.relimit import Move, Reviewed, relimit, score_set
from flawscope.runtime.bundle import Bundle, open_bundle
from flawscope.store.bundles import LINE
from flawscope.store.records import BundleRecord

router = APIRouter(tags=["bundles"])
Id = Annotated[str, Path(max_length=12)]


class Limits(Model):
    """Where both limits go, why, and the version that they replace."""

    limit_ng: Annotated[float | None, Field(description="Scores above it are NG.")] = None
    limit_review: Annotated[float | None, Field(description="Scores above it are REVIEW.")] = None
    reason: Annotated[str, Field(min_length=1, max_length=300)]
    version: Annotated[int, Field(ge=1, description="Of the limits that were looked at.")]


class Moved(Model):
    """The bundle with the moved limits."""

    bundle_id: str
    version: int
    on_line: bool


@router.post(
    "/bundles/{id}/limits",
    summary="Move the limits",
    response_model=Ok[Moved],
    responses=failures(404, 409),
)
def move(request: Request, who: Engineer, id: Id, wish: Limits) -> Response:
    """Make a new version of a bundle with other limits; where the old one is on the line, the new one takes
    its place. 409 names who has made this version meanwhile."""
    station = station_of(request)
    record = station.store.bundles.get(id)
    bundle = open_bundle(station.store.bundle_file(id))
    _refuse_older(station, bundle, wish.version)
    made = _made(station, bundle, wish, who)
    was_on_line = record.state == LINE
    if was_on_line:
        station.line.active.activate(made.id, who=who.name, reason=wish.reason)
        station.events.publish("bundle", made.to_json())
    return answer({"bundle_id": made.id, "version": wish.version + 1, "on_line": was_on_line})


def _refuse_older(station: Station, bundle: Bundle, version: int) -> None:
    digest = bundle.contents.calibration.split_digest
    for one in station.store.bundles.all():
        if one.parent != bundle.id:
            continue
        other = open_bundle(station.store.bundle_file(one.id)).contents.calibration
        last = other.change
        if last is not None and last.version > version and other.split_digest == digest:
            raise ConflictError(
                f"{last.who} saved version {last.version} meanwhile",
                expected=f"version {version} as the last one",
                found=f"{one.id}: {last.why}",
                remedy="Compare both, and move the limits of the later one",
            )


def _made(station: Station, bundle: Bundle, wish: Limits, who: Who) -> BundleRecord:
    contents, store = bundle.contents, station.store
    reviewed = [
        Reviewed(
            part.id,
            part.image_sha256,
            "good" if said.said.answer == "good" else (said.said.defect or "defect"),
            part.score,
            part=part.origin.part,
            product=part.origin.product,
        )
        for said, part in untested_answers(station, store.reviews.of_bundle(bundle.id))
        if part.score is not None
    ]
    known, _ = score_set(reviewed, contents.seen)
    place = store.folder_of("bundles") / f".moved-{bundle.id}-{store.clock()}.flaw"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    wanted = Move(who.name, wish.reason, ng=wish.limit_ng, review=wish.limit_review)
    try:
        sealed = relimit(bundle, wanted, place, at=at, reviewed=known).bundle
        made = station.line.active.add(place, who=who.name)
    finally:
        place.unlink(missing_ok=True)
    store.calibrations.add(
        made.id,
        parent=bundle.id,
        product=contents.product,
        limits={"ng": wish.limit_ng, "review": wish.limit_review},
        person=who.name,
        reason=wish.reason,
    )
    detail = {"from": bundle.id, "ng": wish.limit_ng, "review": wish.limit_review, "reason": wish.reason}
    store.audit.add(who.name, "limits.move", sealed.id, detail=detail)
    return made
