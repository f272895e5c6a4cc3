"""Review: good or bad? Parts by risk, blind to model and colleagues, answered by one key."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.pages.opened import opened_of
from flawscope.app.pages.page import Asked, PageKind, add_page, asked_for, show
from flawscope.app.pages.trials import latest_trials
from flawscope.app.pages.view import part_view
from flawscope.app.queueing import waiting_for
from flawscope.app.retraining import DEFAULT_METHOD, kept_sets, reviewed
from flawscope.app.testing import untested_answers
from flawscope.core import extras
from flawscope.core.errors import BundleError, NotFoundError
from flawscope.core.registry import Kind, methods
from flawscope.core.types import GOOD, Json
from flawscope.flows.supervision import FEWEST_BAD
from flawscope.store.bundles import KEPT
from flawscope.store.records import InspectionRecord, RoleName

router = APIRouter(include_in_schema=False)
_QUEUE = 20
_MINE = 8
_CLASSES = 7  # keys 3 to 9
_DISAGREED = 12


def review_context(asked: Asked) -> Json:
    """Return the queue of who asks, with the part to look at (`id`, or the first)."""
    reviews, person = asked.station.store.reviews, asked.who.name
    left, queue = waiting_for(asked.station, person, limit=_QUEUE)
    wanted = asked.text("id")
    first = asked.station.store.inspections.get(wanted) if wanted else (queue[0] if queue else None)
    is_engineer = asked.who.may(RoleName.ENGINEER)
    answers = untested_answers(asked.station, reviews.learnable()) if is_engineer else []
    return {
        "left": left,
        "queue": [one.id for one in queue],
        "part": None if first is None else _blind(asked, first),
        "mine": [one.to_json() for one in reviews.mine(person, limit=_MINE) if one.undone_us is None],
        "judged_today": reviews.agreement().reviewed,
        "agreement": reviews.agreement().to_json(),
        "disagreements": [one.to_json() for one in reviews.disagreements(limit=_DISAGREED)]
        if is_engineer
        else [],
        "learnable": sum(said.said.answer == "good" for said, _ in answers),
        "known": [one.to_json() for one in asked.station.store.checks.sureness()] if is_engineer else [],
        "retrain": _retrain(asked) if is_engineer else None,
        "candidate": _candidate(asked) if is_engineer else None,
        "is_engineer": is_engineer,
    }


def _retrain(asked: Asked) -> Json:
    """Return with what a bundle could be trained anew: what was reviewed, the sets that were taught from, and
    the methods that learn from defects."""
    answers = [said.said for said, _ in reviewed(asked.station, None)]
    bad = [one for one in answers if one.answer == "bad"]
    return {
        "good": len(answers) - len(bad),
        "bad": len(bad),
        "masks": sum(bool(one.mask_sha256) for one in bad),
        "fewest": FEWEST_BAD,
        "sets": [one.to_json() for one in kept_sets(asked.station)] if bad else [],
        "methods": [
            {"name": one.name, "here": one.extra is None or not extras.missing_modules(one.extra)}
            for one in sorted(methods, key=lambda entry: entry.name != DEFAULT_METHOD)
            if one.kind is Kind.SUPERVISED
        ],
    }


def _candidate(asked: Asked) -> Json | None:
    """Return the latest bundle that came after the one on the line of its product and waits beside it."""
    since = {one.record.product: one.record.added_us for one in asked.station.line.active.on_line()}
    for one in asked.station.store.bundles.all():
        if one.state == KEPT and one.added_us > since.get(one.product, one.added_us):
            return {"id": one.id, "name": one.name, "trial": latest_trials(asked).get(one.id)}
    return None


def part_context(asked: Asked) -> Json:
    """Return one part to be reviewed, by the id in the path."""
    record = asked.station.store.inspections.get(asked.request.path_params["id"])
    return {"part": _blind(asked, record)}


def _blind(asked: Asked, record: InspectionRecord) -> Json:
    """Return a part with the classes that it may be given, and a good part to compare it with."""
    opened = opened_of(asked.request)
    part = part_view(asked.station, opened, record, seen_by=asked.who.name)
    classes: list[str] = []
    reference = None
    try:
        contents = opened.inspector(record.bundle_id).bundle.contents
        classes = [name for name in contents.classes if name != GOOD]
        if contents.references is not None and any(contents.references.thumbnails):
            reference = f"/b/{record.bundle_id}/reference.jpg"
    except (NotFoundError, BundleError):
        classes = []
    known = [*classes, *asked.station.store.reviews.defects()]
    # whether it is settled already, and by whom, is not for who judges it
    part |= {"reviews": [], "queue": "waiting"}
    return part | {"classes": list(dict.fromkeys(known))[:_CLASSES], "reference": reference}


add_page(router, "/review", PageKind("review", "review.html"), review_context)


@router.get("/review/{id}/piece")
async def piece(request: Request) -> Response:
    """Return one part to be reviewed, as a piece of a page."""
    return await show(request, PageKind("review", "pieces/review.html"), part_context)


@router.get("/b/{bundle}/reference.jpg")
async def reference(request: Request, bundle: str) -> Response:
    """Return a good photograph that a bundle keeps."""
    asked = await asked_for(request, RoleName.OPERATOR)

    def make() -> Response:
        asked.station.store.bundles.get(bundle)
        known = opened_of(request).inspector(bundle).bundle.contents.references
        picture = next((one for one in known.thumbnails if one), None) if known is not None else None
        if picture is None:
            raise NotFoundError("The bundle keeps no picture of a good part")
        headers = {"cache-control": "private, max-age=86400"}
        return Response(picture, media_type="image/jpeg", headers=headers)

    return await run_in_threadpool(make)
