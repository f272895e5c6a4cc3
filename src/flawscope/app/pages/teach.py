"""Teach: a model from good photographs; and the page of a job, which survives a restart of the station."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.api.jobs import job_json, set_json
from flawscope.app.pages.page import Asked, PageKind, add_page, asked_for, show
from flawscope.core import extras
from flawscope.core.registry import Kind, methods
from flawscope.core.types import GOOD, Json
from flawscope.decision.calibration import parts_needed
from flawscope.imaging.read import read_bytes
from flawscope.imaging.write import encode, thumbnail
from flawscope.store.jobs import OPEN
from flawscope.store.records import RoleName

router = APIRouter(include_in_schema=False)
_ALPHA = 0.05
_WISHED = 20  # good parts to begin with
_LOG_LINES = 200


def teach_context(asked: Asked) -> Json:
    """Return the set of photographs that the URL names (`set`), the methods that there are, and jobs."""
    wanted = asked.text("set")
    held = set_json(asked.station, wanted) if wanted else None
    if held is not None:
        held["good"] = held["counts"].get(GOOD, 0)
        held["bad"] = sum(held["counts"].values()) - held["good"]
    jobs = [_job(asked, one.id) for one in asked.station.store.jobs.all(limit=6)]
    return {
        "set": held,
        "wished": _WISHED,
        "alpha": _ALPHA,
        "needed": parts_needed(_ALPHA),
        "methods": [
            {"name": one.name, "summary": one.summary, "here": _is_here(one.extra)}
            for one in methods
            if one.kind is Kind.ONE_CLASS
        ],
        "jobs": jobs,
        "busy": any(one["is_open"] for one in jobs),
    }


def job_context(asked: Asked) -> Json:
    """Return a job with its progress and the end of its log."""
    id = asked.request.path_params["id"]
    lines = asked.station.jobs.log(id).splitlines()
    return {"job": _job(asked, id), "log": "\n".join(lines[-_LOG_LINES:])}


def _job(asked: Asked, id: str) -> Json:
    record = asked.station.store.jobs.get(id)
    return job_json(asked.station, record) | {"is_open": record.state in OPEN}


def _is_here(extra: str | None) -> bool:
    return extra is None or not extras.missing_modules(extra)


add_page(router, "/teach", PageKind("teach", "teach.html", RoleName.ENGINEER), teach_context)
add_page(router, "/jobs/{id}", PageKind("teach", "job.html", RoleName.ENGINEER), job_context)


@router.get("/jobs/{id}/state")
async def state(request: Request) -> Response:
    """Return how far a job is, as a piece of a page."""
    return await show(request, PageKind("teach", "pieces/job.html", RoleName.ENGINEER), job_context)


@router.get("/sets/{id}/{name}/thumb.jpg")
async def picture(request: Request, id: str, name: str) -> Response:
    """Return a small picture of a photograph of a set."""
    asked = await asked_for(request, RoleName.ENGINEER)

    def make() -> Response:
        pixels = read_bytes(asked.station.sets.read(id, name), name="photograph").pixels
        headers = {"cache-control": "private, max-age=3600"}
        return Response(encode(thumbnail(pixels, 160), ".jpg"), media_type="image/jpeg", headers=headers)

    return await run_in_threadpool(make)
