"""Bundles: added, put on the line or in its shadow, taken back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from flawscope.app.api.models import (
    ActivationOut,
    BundleDetail,
    BundleOut,
    Model,
    Ok,
    ShadowTable,
    failures,
)
from flawscope.app.envelope import answer
from flawscope.app.security.access import Engineer, Operator, station_of
from flawscope.core.errors import BundleError, RequestError
from flawscope.core.types import Json
from flawscope.decision.calibration import promise, thresholds
from flawscope.runtime.bundle import open_bundle
from flawscope.store.records import BundleRecord

router = APIRouter(tags=["bundles"])
Id = Annotated[str, Path(max_length=12)]


class Reason(Model):
    """Why."""

    reason: Annotated[str, Field(max_length=2000)] = ""


class Product(Reason):
    """Of which product, and why."""

    product: Annotated[str, Field(max_length=200)] = ""


@router.get("/bundles", summary="All bundles", response_model=Ok[list[BundleOut]], responses=failures())
def bundles(request: Request, who: Operator) -> Response:
    """Return all bundles, the latest first."""
    return answer([one.to_json() for one in station_of(request).store.bundles.all()])


@router.post(
    "/bundles",
    summary="Add a bundle",
    response_model=Ok[BundleOut],
    responses=failures(),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add(request: Request, who: Engineer) -> Response:
    """Keep a `.flaw` file that is the body; it is checked and judges nothing yet."""
    content = await request.body()
    if not content:
        raise RequestError("The request brings no bundle", code="empty")
    active = station_of(request).line.active
    try:
        record = await run_in_threadpool(active.add_bytes, content, who=who.name)
    except BundleError as error:  # without the place where it lay for a moment
        raise BundleError(
            "The bundle was not taken", expected=error.expected, found=error.found, remedy=error.remedy
        ) from error
    return answer(record.to_json())


@router.get(
    "/bundles/history",
    summary="What was on the line",
    response_model=Ok[list[ActivationOut]],
    responses=failures(),
)
def history(
    request: Request, who: Operator, product: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """Return every change of a bundle's state, the latest first, with who and why."""
    return answer([one.to_json() for one in station_of(request).store.bundles.history(product)])


@router.post("/bundles/roll-back", summary="Go back", response_model=Ok[BundleOut], responses=failures(404))
def roll_back(request: Request, who: Engineer, wish: Product) -> Response:
    """Put the bundle that was on the line before back on it."""
    station = station_of(request)
    record = station.line.active.roll_back(wish.product, who=who.name, reason=wish.reason)
    return _changed(request, record)


@router.get("/bundles/{id}", summary="One bundle", response_model=Ok[BundleDetail], responses=failures(404))
def one(request: Request, who: Operator, id: Id) -> Response:
    """Return a bundle with its card and what it promises."""
    return answer(bundle_detail(request, id))


@router.get(
    "/bundles/{id}/file",
    summary="Its file",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}},
        **failures(404),
    },
)
def file(request: Request, who: Engineer, id: Id) -> Response:
    """Return the `.flaw` file."""
    path = station_of(request).store.bundle_file(id)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{id}.flaw")


@router.post(
    "/bundles/{id}/activate", summary="Put on the line", response_model=Ok[BundleOut], responses=failures(404)
)
def activate(request: Request, who: Engineer, id: Id, wish: Reason) -> Response:
    """Put a bundle on the line in place of the present one of its product."""
    record = station_of(request).line.active.activate(id, who=who.name, reason=wish.reason)
    return _changed(request, record)


@router.post(
    "/bundles/{id}/shadow", summary="Run in shadow", response_model=Ok[BundleOut], responses=failures(404)
)
def shadow(request: Request, who: Engineer, id: Id, wish: Reason) -> Response:
    """Let a bundle judge beside the line; its verdicts count for nothing and are kept apart."""
    record = station_of(request).line.active.shadow(id, who=who.name, reason=wish.reason)
    return _changed(request, record)


@router.post(
    "/bundles/{id}/take-off", summary="Take off", response_model=Ok[BundleOut], responses=failures(404)
)
def take_off(request: Request, who: Engineer, id: Id, wish: Reason) -> Response:
    """Take a bundle off the line or out of the shadow; it is kept."""
    record = station_of(request).line.active.take_off(id, who=who.name, reason=wish.reason)
    return _changed(request, record)


@router.get(
    "/bundles/{id}/disagreements",
    summary="Where shadow and line differ",
    response_model=Ok[ShadowTable],
    responses=failures(404),
)
def disagreements(
    request: Request, who: Operator, id: Id, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> Response:
    """Return how often the line and this bundle said what, and the parts on which they differ."""
    store = station_of(request).store
    store.bundles.get(id)
    counts = [
        {"line": line, "shadow": own, "count": count}
        for (line, own), count in sorted(store.shadows.table(id).items())
    ]
    found = store.shadows.disagreements(id, limit=limit)
    return answer({"counts": counts, "disagreements": [one.to_json() for one in found]})


def bundle_detail(request: Request, id: str) -> Json:
    """Return a bundle with its card and what it promises as the documented JSON."""
    store = station_of(request).store
    record = store.bundles.get(id)
    contents = open_bundle(store.bundle_file(id)).contents
    return record.to_json() | {
        "card": contents.card,
        "promise": promise(contents.calibration).to_json(),
        "thresholds": thresholds(contents.calibration).to_json(),
        "classes": list(contents.classes),
        "settings": dict(contents.settings),
        "counts": dict(contents.counts),
    }


def _changed(request: Request, record: BundleRecord) -> Response:
    station_of(request).events.publish("bundle", record.to_json())
    return answer(record.to_json())
