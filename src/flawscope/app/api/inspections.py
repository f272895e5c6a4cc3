"""What was inspected: found by filters, counted, shown, written out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from flawscope.app.api.models import (
    BucketOut,
    CountsOut,
    DefectOut,
    GroupOut,
    InspectionOut,
    Ok,
    PageOut,
    ReviewOut,
    failures,
)
from flawscope.app.envelope import answer
from flawscope.app.security.access import Operator, station_of
from flawscope.core.errors import NotFoundError
from flawscope.imaging.headers import sniff
from flawscope.store.clock import from_iso
from flawscope.store.inspections import Filters, verdict_filter
from flawscope.store.records import InspectionRecord

router = APIRouter(tags=["inspections"])
Id = Annotated[str, Path(max_length=36)]
Text = Annotated[str | None, Query(max_length=200)]
Time = Annotated[str | None, Query(max_length=40, description="ISO 8601; without an offset UTC")]
_HOUR_US = timedelta(hours=1) // timedelta(microseconds=1)
_STEPS = {"minute": _HOUR_US // 60, "hour": _HOUR_US, "day": _HOUR_US * 24, "week": _HOUR_US * 24 * 7}
_MEDIA = {
    "JPEG": "image/jpeg", "PNG": "image/png", "BMP": "image/bmp", "TIFF": "image/tiff",
    "WebP": "image/webp", "GIF": "image/gif", "PNM": "image/x-portable-anymap",
}  # fmt: skip
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/*", "application/octet-stream")  # what was no image is kept all the same
        }
    }
}
_COLUMNS = (
    "id", "at", "station", "product", "lot", "part", "name", "verdict", "score", "p_value", "risk", "band",
    "defect", "error", "bundle_id", "image_sha256", "image_kept", "person",
)  # fmt: skip


def filters_of(
    verdict: Annotated[
        list[str] | None, Query(max_length=4, description="OK, REVIEW, NG, NOT_JUDGED")
    ] = None,
    product: Text = None,
    lot: Text = None,
    part: Text = None,
    station: Text = None,
    bundle: Text = None,
    defect: Text = None,
    from_: Annotated[str | None, Query(alias="from", max_length=40, description="ISO 8601")] = None,
    to: Time = None,
    risk_from: Annotated[float | None, Query(ge=0, le=100)] = None,
    risk_to: Annotated[float | None, Query(ge=0, le=100)] = None,
    image_kept: bool | None = None,
    disagreed: Annotated[bool, Query(description="The model against a reviewer.")] = False,
) -> Filters:
    """Read the filters that every list and chart understands from the URL."""
    return Filters(
        verdicts=verdict_filter(verdict or []),
        product=product,
        lot=lot,
        part=part,
        station=station,
        bundle_id=bundle,
        defect=defect,
        from_us=None if from_ is None else from_iso(from_),
        to_us=None if to is None else from_iso(to),
        risk_from=risk_from,
        risk_to=risk_to,
        image_kept=image_kept,
        disagreed=disagreed,
    )


Wanted = Annotated[Filters, Depends(filters_of)]


@router.get("/inspections", summary="Find inspections", response_model=Ok[PageOut], responses=failures())
def find(
    request: Request,
    who: Operator,
    filters: Wanted,
    after: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Return inspections, newest first; `after` of one page is asked for with the next."""
    page = station_of(request).store.inspections.page(filters, after=after, limit=limit)
    return answer({"inspections": [one.to_json() for one in page.records], "after": page.after})


@router.get(
    "/inspections/{id}", summary="One inspection", response_model=Ok[InspectionOut], responses=failures(404)
)
def one(request: Request, who: Operator, id: Id) -> Response:
    """Return one inspection."""
    return answer(station_of(request).store.inspections.get(id).to_json())


@router.get(
    "/inspections/{id}/image",
    summary="Its photograph, as it came",
    response_class=Response,
    responses={**_PICTURE, **failures(404)},
)
def image(request: Request, who: Operator, id: Id) -> Response:
    """Return the photograph's own bytes. 404 once retention has freed it."""
    store = station_of(request).store
    content = store.images.read(store.inspections.get(id).image_sha256)
    kind = sniff(content)
    media = _MEDIA.get("" if kind is None else kind.value, "application/octet-stream")
    return Response(content, media_type=media, headers=_FOR_EVER)


@router.get(
    "/inspections/{id}/heat",
    summary="Its heat map",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string"}}}}, **failures(404)},
)
def heat(request: Request, who: Operator, id: Id) -> Response:
    """Return the heat map as a grey PNG over the whole photograph: 0 to 255 stand for 0 to 2 pixel limits."""
    content = station_of(request).store.inspections.heat(id)
    if content is None:
        raise NotFoundError(f"No heat map is kept for {id}")
    return Response(content, media_type="image/png", headers=_FOR_EVER)


@router.get(
    "/inspections/{id}/reviews",
    summary="What people said of it",
    response_model=Ok[list[ReviewOut]],
    responses=failures(404),
)
def reviews(request: Request, who: Operator, id: Id) -> Response:
    """Return the answers; nobody who has yet to answer is told what others said."""
    store = station_of(request).store
    store.inspections.get(id)
    return answer([one.to_json() for one in store.reviews.of(id, seen_by=who.name)])


@router.get("/history/counts", summary="How many", response_model=Ok[CountsOut], responses=failures())
def counts(request: Request, who: Operator, filters: Wanted) -> Response:
    """Return how many inspections had which verdict, and the first-pass yield."""
    return answer(station_of(request).store.history.counts(filters).to_json())


@router.get(
    "/history/by/{group}",
    summary="By lot, product, …",
    response_model=Ok[list[GroupOut]],
    responses=failures(),
)
def by(
    request: Request,
    who: Operator,
    filters: Wanted,
    group: Literal["lot", "product", "station", "defect", "bundle_id"],
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Return counts and yield by lot, product, station, defect or bundle, the latest first."""
    found = station_of(request).store.history.by(filters, group, limit=limit)
    return answer([one.to_json() for one in found])


@router.get(
    "/history/pareto", summary="Pareto of defects", response_model=Ok[list[DefectOut]], responses=failures()
)
def pareto(request: Request, who: Operator, filters: Wanted) -> Response:
    """Return the defects of REVIEW and NG parts, the most frequent first."""
    found = station_of(request).store.history.pareto(filters)
    return answer([{"defect": defect, "count": count} for defect, count in found])


@router.get("/history/trend", summary="Trend", response_model=Ok[list[BucketOut]], responses=failures())
def trend(
    request: Request,
    who: Operator,
    filters: Wanted,
    step: Literal["minute", "hour", "day", "week"] = "day",
    offset_minutes: Annotated[int, Query(ge=-1440, le=1440)] = 0,
) -> Response:
    """Return counts by minute, hour, day or week; `offset_minutes` is the time zone's."""
    history = station_of(request).store.history
    found = history.trend(filters, step_us=_STEPS[step], offset_us=offset_minutes * (_HOUR_US // 60))
    return answer([one.to_json() for one in found])


@router.get(
    "/inspections.csv",
    summary="Inspections as a table",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **failures()},
)
def table(
    request: Request,
    who: Operator,
    filters: Wanted,
    limit: Annotated[int, Query(ge=1, le=1_000_000)] = 100_000,
) -> Response:
    """Return inspections, newest first, as CSV."""
    filters.clauses()  # what is wrong is said before the first line
    records = station_of(request).store.inspections.all(filters, limit=limit)
    headers = {"content-disposition": 'attachment; filename="inspections.csv"'}
    return StreamingResponse(_lines(records), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(records: Iterator[InspectionRecord]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for record in records:
        values = record.to_json()
        values["error"] = record.error_code
        writer.writerow([_cell(values[name]) for name in _COLUMNS])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return "" if value is None else value


_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}  # named by what they are
