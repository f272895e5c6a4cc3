"""Jobs, and the sets of photographs that they work on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from flawscope.app.api.models import ErrorBody, Model, Ok, failures
from flawscope.app.api.uploads import body_of_files, label_of, sent_files
from flawscope.app.envelope import answer, error_json
from flawscope.app.security.access import Engineer, Operator, station_of
from flawscope.app.sets import Sets
from flawscope.app.station import Station
from flawscope.app.testing import refuse_tested
from flawscope.core.errors import FlawscopeError, NotFoundError, RequestError
from flawscope.core.types import GOOD, Json
from flawscope.store.jobs import JobRecord

router = APIRouter(tags=["jobs"])
Id = Annotated[str, Path(max_length=36)]
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:"
)
_UPLOAD = body_of_files(label={"type": "string", "maxLength": 40, "default": GOOD})


class ProgressOut(Model):
    """How far a job is."""

    stage: str
    done: int
    total: int
    seconds_left: float | None
    note: str


class JobOut(Model):
    """A job."""

    id: str
    kind: str
    title: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    person: str
    created: str
    started: str | None
    ended: str | None
    result: dict[str, Any] | None
    error: ErrorBody | None
    progress: ProgressOut
    before: int = Field(description="Jobs whose turn comes first.")


Side = Annotated[int, Field(ge=32, le=4096)]


class TeachSettings(Model):
    """What may be chosen of a training; what is left out has the default of `flawscope train`."""

    method: Annotated[str, Field(max_length=60, pattern=r"^[a-z0-9_]+$")] | None = None
    name: Annotated[str, Field(max_length=100)] | None = None
    size: Annotated[list[Annotated[int, Field(ge=32, le=4096)]], Field(min_length=2, max_length=2)] | None = (
        None
    )
    fit: Literal["letterbox", "stretch", "tiles"] | None = None
    budget: Annotated[int, Field(ge=32, le=4096)] | None = None
    calibrate: Literal["auto", "split", "folds"] | None = None
    calibrate_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    alpha: Annotated[float, Field(ge=1e-6, le=0.5)] | None = None
    review_alpha: Annotated[float, Field(ge=1e-6, le=0.5)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] | None = None
    settings: dict[str, int | float | bool] | None = Field(
        default=None, description="The method's own numbers."
    )


class JobIn(Model):
    """A new job."""

    kind: Literal["train", "audit", "evaluate"]
    set: Annotated[str, Field(max_length=36, description="The set of photographs to work on.")]
    bundle: Annotated[str | None, Field(max_length=12, description="What to test; kind evaluate.")] = None
    title: Annotated[str, Field(max_length=200)] = ""
    settings: TeachSettings = TeachSettings()


class SetOut(Model):
    """A set of photographs."""

    id: str
    counts: dict[str, int]
    images: list[SetImageOut]


class SetImageOut(Model):
    """One photograph of a set."""

    name: str
    label: str
    bytes: int
    mask: bool


class Added(Model):
    """What became of photographs that were sent to a set."""

    added: int
    copies: int
    refused: list[Refused]
    counts: dict[str, int]


class Refused(Model):
    """A photograph that was not taken, and why."""

    name: str
    error: ErrorBody


SetOut.model_rebuild()
Added.model_rebuild()


@router.post("/sets", summary="A new set", response_model=Ok[SetOut], responses=failures())
def new_set(request: Request, who: Engineer) -> Response:
    """Make an empty set of photographs to teach from."""
    return answer(set_json(station_of(request), station_of(request).sets.new()))


@router.get("/sets/{id}", summary="A set", response_model=Ok[SetOut], responses=failures(404))
def get_set(request: Request, who: Engineer, id: Id) -> Response:
    """Return a set and its photographs."""
    return answer(set_json(station_of(request), id))


@router.delete("/sets/{id}", summary="Remove a set", status_code=204, responses=failures(404))
def remove_set(request: Request, who: Engineer, id: Id) -> Response:
    """Remove a set."""
    station_of(request).sets.remove(id)
    return Response(status_code=204)


@router.post(
    "/sets/{id}/images",
    summary="Add photographs",
    response_model=Ok[Added],
    responses=failures(404, 415),
    openapi_extra=_UPLOAD,
)
async def add_images(request: Request, who: Engineer, id: Id) -> Response:
    """Add the multipart files `files` with a `label`: `good`, or the defect's name. Copies are left out."""
    station = station_of(request)
    station.sets.folder(id)
    added = copies = 0
    refused: list[Json] = []
    most = station.settings.limits.batch_files
    async with sent_files(request, most=most, fields=4) as (files, form):
        label = label_of(form)
        for file in files:
            try:
                kept = station.sets.add(id, await file.read(), label=label)
            except FlawscopeError as error:
                refused.append({"name": (file.filename or "")[-255:], "error": error_json(error)})
                continue
            added, copies = added + (kept is not None), copies + (kept is None)
    counts = set_json(station, id)["counts"]
    return answer({"added": added, "copies": copies, "refused": refused, "counts": counts})


@router.get(
    "/sets/{id}/images/{name}",
    summary="One of its photographs",
    response_class=Response,
    responses={200: {"content": {"image/*": {"schema": {"type": "string"}}}}, **failures(404)},
)
def set_image(request: Request, who: Engineer, id: Id, name: Annotated[str, Path(max_length=40)]) -> Response:
    """Return a photograph of a set."""
    return image_answer(station_of(request).sets, id, name)


@router.delete("/sets/{id}/images/{name}", summary="Take one out", status_code=204, responses=failures(404))
def remove_image(
    request: Request, who: Engineer, id: Id, name: Annotated[str, Path(max_length=40)]
) -> Response:
    """Take a photograph out of a set."""
    station_of(request).sets.remove_image(id, name)
    return Response(status_code=204)


@router.get("/jobs", summary="Jobs", response_model=Ok[list[JobOut]], responses=failures())
def jobs(request: Request, who: Operator, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """Return jobs, the latest first."""
    station = station_of(request)
    return answer([job_json(station, one) for one in station.store.jobs.all(limit=limit)])


@router.post("/jobs", summary="Start a job", response_model=Ok[JobOut], responses=failures(404))
def add_job(request: Request, who: Engineer, wish: JobIn) -> Response:
    """Start a job, or have it wait for its turn: `train` teaches a bundle from a set, `audit` looks whether
    the set is fit to teach from, `evaluate` tests a bundle on it."""
    station = station_of(request)
    settings = wish.settings.model_dump(exclude_none=True)
    if wish.kind == "train":
        refuse_tested(station, [one.name for one in station.sets.images(wish.set)])
    arguments: Json = {"data": str(station.sets.folder(wish.set).resolve()), "settings": settings}
    if wish.kind == "evaluate":
        if wish.bundle is None:
            raise RequestError("It is not said which bundle to test", expected="its id as `bundle`")
        arguments["model"] = str(station.store.bundle_file(wish.bundle).resolve())
    record = station.jobs.add(wish.kind, wish.title or wish.kind, arguments, who=who.name)
    return answer(job_json(station, record))


@router.get("/jobs/{id}", summary="One job", response_model=Ok[JobOut], responses=failures(404))
def job(request: Request, who: Operator, id: Id) -> Response:
    """Return a job and how far it is."""
    station = station_of(request)
    return answer(job_json(station, station.store.jobs.get(id)))


@router.get(
    "/jobs/{id}/log",
    summary="Its log",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **failures(404)},
)
def log(request: Request, who: Operator, id: Id) -> Response:
    """Return the end of what a job said."""
    return PlainTextResponse(station_of(request).jobs.log(id))


@router.get(
    "/jobs/{id}/report",
    summary="Its page",
    response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **failures(404)},
)
def report(request: Request, who: Operator, id: Id) -> Response:
    """Return the page that a job wrote. It is shown in a sandbox: it reaches nothing of the station."""
    station = station_of(request)
    result = station.store.jobs.get(id).result or {}
    name = {"report.html": "report.html", "audit.html": "audit.html"}.get(str(result.get("report")))
    path = None if name is None else station.jobs.folder(id).out / name
    if path is None or not path.is_file():
        raise NotFoundError("This job has no page")
    return HTMLResponse(path.read_bytes(), headers={"content-security-policy": _REPORT_POLICY})


@router.post("/jobs/{id}/cancel", summary="Stop it", response_model=Ok[JobOut], responses=failures(404, 409))
def cancel(request: Request, who: Engineer, id: Id) -> Response:
    """Have a job stop; it takes ten seconds at most."""
    station = station_of(request)
    return answer(job_json(station, station.jobs.cancel(id, who=who.name)))


def image_answer(sets: Sets, id: str, name: str) -> Response:
    """Return a photograph of a set as it was sent."""
    content = sets.read(id, name)
    ending = name.rpartition(".")[2]
    media = {"jpg": "jpeg", "tif": "tiff", "ppm": "x-portable-anymap"}.get(ending, ending)
    return Response(content, media_type=f"image/{media}")


def set_json(station: Station, id: str) -> Json:
    """Return a set as the documented JSON."""
    images = station.sets.images(id)
    counts: dict[str, int] = {}
    for one in images:
        counts[one.label] = counts.get(one.label, 0) + 1
    return {"id": id, "counts": counts, "images": [one.to_json() for one in images]}


def job_json(station: Station, record: JobRecord) -> Json:
    """Return a job with how far it is as the documented JSON."""
    progress = station.jobs.progress(record.id).to_json()
    return record.to_json() | {"progress": progress, "before": len(station.jobs.before(record.id))}
