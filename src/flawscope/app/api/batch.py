"""`POST /api/batch`: many photographs in one request."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import PurePath

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from flawscope.app.api.inspect import Sent, checked_fields, judged
from flawscope.app.api.models import BatchOut, Ok, failures
from flawscope.app.api.uploads import body_of_files, sent_files
from flawscope.app.envelope import answer, error_json
from flawscope.app.security.access import Operator, station_of
from flawscope.app.station import Station
from flawscope.core.errors import BusyError, FlawscopeError, RequestError, TooLargeError
from flawscope.core.types import Json
from flawscope.store.history import Counts
from flawscope.store.records import InspectionRecord, Origin

router = APIRouter(tags=["inspect"])
_FIELDS = ("product", "lot", "station")
_TRIES = 600
BODY = body_of_files(
    product={"type": "string", "maxLength": 200},
    lot={"type": "string", "maxLength": 100},
    station={"type": "string", "maxLength": 100},
)


@router.post(
    "/batch",
    summary="Judge many photographs",
    response_model=Ok[BatchOut],
    responses=failures(404, 415),
    openapi_extra=BODY,
)
async def batch(request: Request, who: Operator) -> Response:
    """Judge the photographs in the multipart fields `files`; each one's verdict or error, in their order. It
    takes the places in the queue that others leave; a file that finds none for long fails with `busy`."""
    station = station_of(request)
    limits = station.settings.limits
    async with sent_files(request, most=limits.batch_files, fields=8) as (files, form):
        fields = checked_fields({name: form[name] for name in _FIELDS if name in form})
        origin = Origin(person=who.name, **fields)
        station.line.active.of(origin.product)  # says at once where no bundle serves the product
        room = asyncio.Semaphore(2 * station.settings.worker_count)
        done = await asyncio.gather(*(_one(station, file, origin, room) for file in files))
    counts = Counter(one.verdict for one, _ in done if one is not None)
    total = Counts(counts["OK"], counts["REVIEW"], counts["NG"], counts["NOT JUDGED"])
    items: list[Json] = [
        {
            "name": file.filename or "",
            "inspection": None if record is None else record.to_json(),
            "error": error,
        }
        for file, (record, error) in zip(files, done, strict=True)
    ]
    return answer({"items": items, "counts": total.to_json()})


async def _one(
    station: Station, file: UploadFile, origin: Origin, room: asyncio.Semaphore
) -> tuple[InspectionRecord | None, Json | None]:
    async with room:
        try:
            return await _judged(station, file, origin), None
        except FlawscopeError as error:
            return None, error_json(error)


async def _judged(station: Station, file: UploadFile, origin: Origin) -> InspectionRecord:
    content = await file.read()
    most = station.settings.limits.image_bytes
    if len(content) > most:
        raise TooLargeError(
            "The image is too large",
            expected=f"at most {most / 1e6:.1f} MB",
            found=f"{len(content) / 1e6:.1f} MB",
        )
    if not content:
        raise RequestError("The file is empty", code="empty")
    name = "".join(c for c in PurePath(file.filename or "").name if c.isprintable())[-255:]
    named = Origin(origin.station, origin.product, origin.lot, origin.part, name, origin.person)
    for tried in range(_TRIES):
        try:
            return await judged(station, Sent(content, named, None))
        except BusyError as error:
            if error.code != "busy" or tried == _TRIES - 1 or station.closing:
                raise
            await asyncio.sleep(0.1)
    raise AssertionError("unreachable")
