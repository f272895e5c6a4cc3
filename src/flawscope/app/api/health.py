"""Whether the station lives and can judge, and its numbers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from flawscope import __version__
from flawscope.app.api.models import Failed, Model, Ok
from flawscope.app.envelope import answer, plain_error
from flawscope.app.metrics import CONTENT_TYPE
from flawscope.app.security.access import Operator, station_of
from flawscope.core.errors import StoreError

router = APIRouter(tags=["health"])
_NOT_NOW: dict[int | str, dict[str, Any]] = {503: {"model": Failed, "description": "Not now."}}


class Alive(Model):
    """The process answers."""

    version: str


class Ready(Model):
    """The station can take photographs."""

    bundles: list[str]
    unanswered: int
    limit: int


@router.get("/healthz", summary="Does the process answer?", response_model=Ok[Alive])
async def healthz() -> Response:
    """Answer without looking at anything."""
    return answer({"version": __version__})


@router.get("/readyz", summary="Can it take photographs?", response_model=Ok[Ready], responses=_NOT_NOW)
def readyz(request: Request) -> Response:
    """Look at store and queue. 503 where the store does not answer or the station is closing."""
    station = station_of(request)
    try:
        with station.store.database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
    except StoreError as error:
        return plain_error(503, error.code, error.subject)
    state = station.line.state()
    if station.closing:
        return plain_error(503, "closing", "The station is shutting down")
    names = [one.record.id for one in station.line.active.on_line()]
    return answer({"bundles": names, "unanswered": state.unanswered, "limit": state.limit})


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **{code: {"model": Failed, "description": "Not allowed."} for code in (401, 403)},
    },
)
async def metrics(request: Request, who: Operator) -> Response:
    """Return all numbers in Prometheus' text format."""
    return Response(station_of(request).metrics.text(), media_type=CONTENT_TYPE)
