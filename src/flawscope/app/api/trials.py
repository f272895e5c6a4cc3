"""Test sets, and what a bundle does on one before and after."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.responses import Response

from flawscope.app.api.jobs import Added, JobOut, SetImageOut, image_answer, job_json
from flawscope.app.api.models import Model, Ok, failures
from flawscope.app.api.uploads import body_of_files, label_of, sent_files
from flawscope.app.envelope import answer, error_json
from flawscope.app.security.access import Engineer, station_of
from flawscope.app.testing import refuse_looked_at, start_trial, test_json, trial_view
from flawscope.core.errors import FlawscopeError
from flawscope.core.types import GOOD, Json

router = APIRouter(tags=["tests"])
Id = Annotated[str, Path(max_length=36)]
Name = Annotated[str, Path(max_length=40)]
_UPLOAD = body_of_files(
    masks={"type": "array", "items": {"type": "string", "format": "binary"}},
    label={"type": "string", "maxLength": 40, "default": GOOD},
)


class TestIn(Model):
    """A new test set."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    product: Annotated[str, Field(max_length=200, description="Empty: of any product.")] = ""


class TestOut(Model):
    """A test set."""

    id: str
    name: str
    product: str
    created: str
    person: str
    counts: dict[str, int]
    masks: int
    looks: int = Field(description="How often somebody has measured on it; from the first on it is closed.")


class TestDetail(TestOut):
    """A test set with its photographs."""

    images: list[SetImageOut]


class TrialIn(Model):
    """Which bundle is measured, where, and against which."""

    test: Annotated[str, Field(max_length=36)]
    bundle: Annotated[str, Field(max_length=12)]
    against: Annotated[
        str, Field(max_length=12, description="Empty: the one on the line, or that came before.")
    ] = ""


class FigureValue(Model):
    """A number with its 95 % interval, or the reason why there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


class ChangesOut(Model):
    """Photographs of one kind that are judged better or worse, and how likely that is by chance."""

    images: int
    better: int
    worse: int
    p: float


class FigureOut(Model):
    """One figure, before and after."""

    name: str
    before: FigureValue
    after: FigureValue


class TableOut(Model):
    """How often one verdict became another."""

    before: str
    after: str
    count: int


class SideOut(Model):
    """What one bundle says of a photograph."""

    verdict: str
    p_value: float | None


class ChangedOut(Model):
    """A photograph with two verdicts."""

    name: str
    label: str | None
    before: SideOut
    after: SideOut


class TrialResult(Model):
    """What changes on a test set."""

    images: int
    good: ChangesOut
    bad: ChangesOut
    auroc_gain: FigureValue
    figures: list[FigureOut]
    table: list[TableOut]
    changed: list[ChangedOut] = Field(description="400 at most, those farthest apart first.")
    changed_all: int
    words: list[str]


class TrialOut(Model):
    """One look at a test set."""

    id: str
    test_id: str
    test_name: str
    bundle_id: str
    against: str
    at: str
    person: str
    looks: int = Field(description="How often the set was looked at so far.")
    result: TrialResult


@router.get("/tests", summary="Test sets", response_model=Ok[list[TestOut]], responses=failures())
def tests(request: Request, who: Engineer) -> Response:
    """Return the test sets, the latest first."""
    station = station_of(request)
    return answer([test_json(station, one) for one in station.store.trials.sets()])


@router.post("/tests", summary="A new test set", response_model=Ok[TestOut], responses=failures(409))
def new_test(request: Request, who: Engineer, wish: TestIn) -> Response:
    """Make an empty set of photographs that test and never teach."""
    station = station_of(request)
    id = station.tests.new()
    try:
        record = station.store.trials.add_set(id, wish.name, product=wish.product, person=who.name)
    except FlawscopeError:
        station.tests.remove(id)
        raise
    return answer(test_json(station, record))


@router.get("/tests/{id}", summary="A test set", response_model=Ok[TestDetail], responses=failures(404))
def get_test(request: Request, who: Engineer, id: Id) -> Response:
    """Return a test set and its photographs."""
    station = station_of(request)
    record = station.store.trials.get_set(id)
    images: list[Json] = [one.to_json() for one in station.tests.images(record.id)]
    return answer(test_json(station, record) | {"images": images})


@router.delete("/tests/{id}", summary="Remove a test set", status_code=204, responses=failures(404))
def remove_test(request: Request, who: Engineer, id: Id) -> Response:
    """Remove a set's photographs; what was seen of it stays."""
    station = station_of(request)
    station.store.trials.remove_set(id, who=who.name)
    station.tests.remove(id)
    return Response(status_code=204)


@router.post(
    "/tests/{id}/images",
    summary="Add photographs that test",
    response_model=Ok[Added],
    responses=failures(404, 409, 415),
    openapi_extra=_UPLOAD,
)
async def add_images(request: Request, who: Engineer, id: Id) -> Response:
    """Add the multipart files `files` with a `label`: `good`, or the defect's name. A file of `masks` belongs
    to the photograph of its name, with or without `_mask` behind it. 409 once somebody has looked at the
    set."""
    station = station_of(request)
    record = station.store.trials.get_set(id)
    refuse_looked_at(station, record)
    added = copies = 0
    refused: list[Json] = []
    most = station.settings.limits.batch_files
    async with sent_files(request, most=most, fields=4) as (files, form):
        masks = {_stem(one): one for one in form.getlist("masks") if isinstance(one, UploadFile)}
        label = label_of(form)
        for file in files:
            try:
                kept = station.tests.add(record.id, await file.read(), label=label)
                added, copies = added + (kept is not None), copies + (kept is None)
                mask = masks.get(_stem(file))
                if kept is not None and mask is not None:
                    station.tests.add_mask(record.id, kept.name, await mask.read())
            except FlawscopeError as error:
                refused.append({"name": (file.filename or "")[-255:], "error": error_json(error)})
    station.store.audit.add(who.name, "test.change", record.id, detail={"added": added, "label": label})
    counts = test_json(station, record)["counts"]
    return answer({"added": added, "copies": copies, "refused": refused, "counts": counts})


@router.get(
    "/tests/{id}/images/{name}",
    summary="One of its photographs",
    response_class=Response,
    responses={200: {"content": {"image/*": {"schema": {"type": "string"}}}}, **failures(404)},
)
def test_image(request: Request, who: Engineer, id: Id, name: Name) -> Response:
    """Return a photograph of a test set."""
    return image_answer(station_of(request).tests, id, name)


@router.delete(
    "/tests/{id}/images/{name}", summary="Take one out", status_code=204, responses=failures(404, 409)
)
def remove_image(request: Request, who: Engineer, id: Id, name: Name) -> Response:
    """Take a photograph out of a test set; 409 once somebody has looked at it."""
    station = station_of(request)
    record = station.store.trials.get_set(id)
    refuse_looked_at(station, record)
    station.tests.remove_image(record.id, name)
    station.store.audit.add(who.name, "test.change", record.id, detail={"removed": name})
    return Response(status_code=204)


@router.get("/trials", summary="Looks at test sets", response_model=Ok[list[TrialOut]], responses=failures())
def trials(
    request: Request,
    who: Engineer,
    test: Annotated[str | None, Query(max_length=36)] = None,
    bundle: Annotated[str | None, Query(max_length=12)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Return what bundles did on test sets before and after, the latest first."""
    station = station_of(request)
    found = station.store.trials.all(test_id=test, bundle_id=bundle, limit=limit)
    return answer([trial_view(station, one) for one in found])


@router.post(
    "/trials", summary="Before and after on TEST", response_model=Ok[JobOut], responses=failures(404)
)
def start(request: Request, who: Engineer, wish: TrialIn) -> Response:
    """Start the job that measures a bundle on a test set beside the one that it would replace. It is refused
    where either has seen one of the photographs. Each one that is done counts as a look at the set."""
    station = station_of(request)
    return answer(job_json(station, start_trial(station, wish.test, wish.bundle, wish.against, who=who.name)))


@router.get("/trials/{id}", summary="One look", response_model=Ok[TrialOut], responses=failures(404))
def trial(request: Request, who: Engineer, id: Id) -> Response:
    """Return what a bundle did on a test set before and after."""
    station = station_of(request)
    return answer(trial_view(station, station.store.trials.get(id)))


def _stem(file: UploadFile) -> str:
    return PurePath((file.filename or "").replace("\\", "/")).stem.removesuffix("_mask")
