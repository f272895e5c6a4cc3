"""`POST /api/inspect`: one photograph in, its verdict out once record and image are safe."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flawscope.app.api.models import InspectionOut, Ok, failures
from flawscope.app.api.uploads import MULTIPART, content_type
from flawscope.app.envelope import answer
from flawscope.app.security.access import Operator, station_of
from flawscope.app.station import Station
from flawscope.core.errors import BusyError, RequestError, TooLargeError
from flawscope.store.records import InspectionRecord, Origin

router = APIRouter(tags=["inspect"])

_FIELDS = ("product", "lot", "part", "station", "name", "id")
_LONGEST = {"product": 200, "lot": 100, "part": 100, "station": 100, "name": 255, "id": 36}
_IMAGE = {"type": "string", "format": "binary"}
_SAID = {
    "product": "Which product; may be left out where one bundle is on the line.",
    "lot": "The lot, for yield by lot.",
    "part": "The part's number.",
    "station": "The camera or place that took the picture.",
    "name": "The picture's file name.",
    "id": "A UUID of the client's: sent twice, judged and kept once.",
}
_FIELDS_OPENAPI = {
    name: {"type": "string", "maxLength": _LONGEST[name], "description": text}
    | ({"format": "uuid"} if name == "id" else {})
    for name, text in _SAID.items()
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": _IMAGE, **_FIELDS_OPENAPI},
                }
            },
            "application/octet-stream": {"schema": _IMAGE},
            "image/*": {"schema": _IMAGE},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "format": "byte", "description": "base64"},
                        **_FIELDS_OPENAPI,
                    },
                }
            },
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _FIELDS_OPENAPI.items()
    ],
}


@dataclass(frozen=True, eq=False)
class Sent:
    """A photograph as a client sent it."""

    content: bytes
    origin: Origin
    id: str | None


@router.post(
    "/inspect",
    summary="Judge one photograph",
    response_model=Ok[InspectionOut],
    responses=failures(404, 409, 415),
    openapi_extra=BODY,
)
async def inspect(request: Request, who: Operator) -> Response:
    """Judge a photograph sent as multipart field `file`, as raw body, or as base64 in JSON. The answer comes
    once record and image are on disk. 503 means: not taken, send it again after `Retry-After` seconds."""
    station = station_of(request)
    sent = await read_sent(request, person=who.name, largest=station.settings.limits.image_bytes)
    record = await judged(station, sent)
    return answer(record.to_json())


async def judged(station: Station, sent: Sent) -> InspectionRecord:
    """Submit a photograph and wait for its kept record. Raises what `Line.submit` does, and BusyError where
    it takes too long; it is then judged all the same and found by its id."""
    waiting = asyncio.wrap_future(station.line.submit(sent.content, sent.origin, id=sent.id))
    try:
        return await asyncio.wait_for(asyncio.shield(waiting), station.settings.limits.answer_s)
    except TimeoutError:
        raise BusyError(
            "The verdict takes longer than expected",
            remedy="The picture was taken and will be judged; ask for it by its id",
            code="late",
        ) from None


async def read_sent(request: Request, *, person: str, largest: int) -> Sent:
    """Read a photograph from a request. Raises RequestError for anything else, TooLargeError for one of more
    than `largest` bytes."""
    kind = content_type(request)
    query = {name: request.query_params[name] for name in _FIELDS if name in request.query_params}
    if kind == MULTIPART:
        content, fields = await _from_form(request)
    elif kind == "application/json":
        content, fields = _from_json(await request.body())
    elif kind.startswith("image/") or kind in ("application/octet-stream", ""):
        content, fields = await request.body(), {}
    else:
        raise HTTPException(415, "expected multipart/form-data, application/json or an image")
    if not content:
        raise RequestError("The request brings no image", code="empty")
    if len(content) > largest:
        raise TooLargeError(
            "The image is too large",
            expected=f"at most {largest / 1e6:.1f} MB",
            found=f"{len(content) / 1e6:.1f} MB",
        )
    values = checked_fields({**fields, **query})
    id = values.pop("id", "") or None
    return Sent(content, Origin(person=person, **values), id)


def checked_fields(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what a client says of a photograph. Raises RequestError for what is too long, not printable, or
    an id that is no UUID."""
    found = {}
    for name, value in values.items():
        if not isinstance(value, str) or len(value) > _LONGEST[name] or not value.isprintable():
            raise RequestError(
                f"The field {name} does not fit",
                expected=f"at most {_LONGEST[name]} printable characters",
                found=str(value)[:40],
            )
        found[name] = value
    if found.get("id"):
        try:
            found["id"] = str(uuid.UUID(found["id"]))
        except ValueError:
            raise RequestError("The field id does not fit", expected="a UUID", found=found["id"]) from None
    return found


async def _from_form(request: Request) -> tuple[bytes, dict[str, Any]]:
    async with request.form(max_files=1, max_fields=len(_FIELDS) + 2) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RequestError(
                "The form brings no image", expected="a file in the field `file`", code="empty"
            )
        content = await file.read()
        fields = {name: form[name] for name in _FIELDS if name in form}
    if "name" not in fields and file.filename:
        fields["name"] = "".join(c for c in file.filename if c.isprintable())[-255:]
    return content, fields


def _from_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("The body is no JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("image"), str):
        raise RequestError("The JSON brings no image", expected="an object with `image` in base64")
    unknown = sorted(set(values) - {"image", *_FIELDS})
    if unknown:
        raise RequestError(f"The JSON has a field {unknown[0][:40]!r}", expected=", ".join(_FIELDS))
    text = values["image"]
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The image is no base64") from None
    return content, {name: values[name] for name in _FIELDS if name in values}
