"""Learning from what people have said, as a job: good parts teach the bundle on the line, or good and bad
ones train a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from flawscope.app.api.models import Model, Ok, failures
from flawscope.app.envelope import answer
from flawscope.app.retraining import DEFAULT_METHOD, start_training
from flawscope.app.security.access import Engineer, station_of
from flawscope.app.station import Station
from flawscope.app.testing import untested, untested_answers
from flawscope.core.errors import UsageError
from flawscope.core.types import GOOD
from flawscope.store.jobs import DONE
from flawscope.store.records import InspectionRecord

router = APIRouter(tags=["reviews"])


class Lesson(Model):
    """Of which product the reviewed parts are learnt."""

    product: Annotated[str, Field(max_length=200)] = ""


class Training(Model):
    """From which kept set a bundle is trained anew, and how."""

    set: Annotated[str, Field(max_length=36, description="A set that a bundle was taught from here.")]
    method: Annotated[
        str, Field(max_length=60, pattern=r"^[a-z0-9_]+$", description="One that learns from defects.")
    ] = DEFAULT_METHOD
    product: Annotated[str, Field(max_length=200)] = ""


class Retraining(Model):
    """The job that trains anew, and what was reviewed of what it is given."""

    job_id: str
    good: int
    bad: int
    masks: int
    calibrate: int = Field(description="Good parts that calibrate; none of them was reviewed.")


class Learning(Model):
    """The job that teaches, and how many parts it teaches."""

    job_id: str
    parts: int


@router.post(
    "/reviews/learn",
    summary="Learn what was reviewed",
    response_model=Ok[Learning],
    responses=failures(404),
)
def learn(request: Request, who: Engineer, wish: Lesson) -> Response:
    """Teach the bundle on the line the parts that people have called good since. Parts drawn at random from
    what passed calibrate it; reviewed parts never do, since they were picked by their score. What is in a
    test set is left out."""
    station = station_of(request)
    record = station.line.active.of(wish.product).record
    answered = untested_answers(station, station.store.reviews.learnable(product=wish.product or None))
    found = [(said, part) for said, part in answered if said.said.answer == "good"]
    if not found:
        raise UsageError(
            "There is nothing to learn",
            expected="parts that people have called good since the last teaching",
            remedy="Review some parts first",
        )
    drawn = untested(station, station.store.samples.unused(record.product))
    arguments = {
        "model": str(station.store.bundle_file(record.id).resolve()),
        "add": str(_folder(station, [part for _, part in found])),
        "calibrate": str(_folder(station, drawn)) if drawn else "",
        "manifest": _manifest_of(station, record.id),
        "who": who.name,
        "reviews": [said.id for said, _ in found],
        "samples": [one.id for one in drawn],
    }
    job = station.jobs.add("teach", f"{record.name} + {len(found)}", arguments, who=who.name)
    return answer({"job_id": job.id, "parts": len(found)})


@router.post(
    "/reviews/train",
    summary="Train anew with what was reviewed",
    response_model=Ok[Retraining],
    responses=failures(404),
)
def train(request: Request, who: Engineer, wish: Training) -> Response:
    """Train a bundle anew, from a kept set and everything that people have judged: good parts, and bad ones
    with their defects and masks. Reviewed parts teach only: what selects and calibrates comes from the kept
    set and from parts drawn at random."""
    job, counts = start_training(station_of(request), wish.set, wish.method, wish.product, who=who.name)
    return answer({"job_id": job.id} | counts)


def _folder(station: Station, parts: Sequence[InspectionRecord]) -> Path:
    """Lay the pictures of parts into a set of their own and return where it lies."""
    id = station.sets.new()
    for part in parts:
        station.sets.add(id, station.store.images.read(part.image_sha256), label=GOOD)
    return station.sets.folder(id).resolve()


def _manifest_of(station: Station, bundle_id: str) -> str:
    """Return the manifest of the job that made a bundle, which names the parts that calibrated it; empty
    where it was made elsewhere."""
    for job in station.store.jobs.all(limit=200):
        if job.state == DONE and (job.result or {}).get("bundle_id") == bundle_id:
            for path in sorted(station.jobs.folder(job.id).out.glob("*.jsonl")):
                return str(path.resolve())
    return ""
