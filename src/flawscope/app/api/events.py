"""`GET /api/events`: what happens, as it happens."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from flawscope.app.api.models import failures
from flawscope.app.security.access import Operator, station_of

router = APIRouter(tags=["events"])


@router.get(
    "/events",
    summary="Server-sent events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **failures()},
)
async def events(request: Request, who: Operator) -> Response:
    """Stream `inspection`, `job`, `alarm` and `bundle` events, each with the JSON of what happened."""
    stream = station_of(request).events.listen()
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})
