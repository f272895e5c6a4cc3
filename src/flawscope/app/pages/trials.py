"""Test sets, and before and after: what a candidate would change on parts that no bundle has seen."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.pages.page import Asked, PageKind, add_page, asked_for
from flawscope.app.pages.view import bundle_view
from flawscope.app.sets import SetImage
from flawscope.app.testing import replaced_by, test_json, trial_view
from flawscope.core.errors import NotFoundError, RequestError
from flawscope.core.types import GOOD, Json
from flawscope.imaging.read import read_bytes
from flawscope.imaging.write import encode, thumbnail
from flawscope.store.bundles import LINE
from flawscope.store.records import BundleRecord, RoleName
from flawscope.store.trials import TrialRecord

router = APIRouter(include_in_schema=False)
_SIDES = (160, 320, 1280)
_LATEST = 30
# groups of photographs that change sides, what matters most first
GROUPS = ("missed", "caught", "alarm", "no_alarm", "other")


def tests_context(asked: Asked) -> Json:
    """Return every test set, and the products that there are."""
    store = asked.station.store
    products = sorted({one.product for one in store.bundles.all() if one.product})
    return {
        "tests": [_counted(test_json(asked.station, one)) for one in store.trials.sets()],
        "products": products,
    }


def test_context(asked: Asked) -> Json:
    """Return one test set with its photographs and the looks at it."""
    station = asked.station
    record = station.store.trials.get_set(asked.request.path_params["id"])
    images = [one.to_json() for one in station.tests.images(record.id)]
    trials = station.store.trials.all(test_id=record.id, limit=_LATEST)
    return {
        "test": _counted(test_json(station, record)),
        "images": images,
        "labels": sorted({one["label"] for one in images if one["label"] != GOOD}),
        "looks_at": [trial_card(asked, one) for one in trials],
    }


def trial_context(asked: Asked) -> Json:
    """Return one before and after, with the photographs that change sides in groups."""
    station = asked.station
    record = station.store.trials.get(asked.request.path_params["id"])
    card = trial_card(asked, record)
    changed: dict[str, list[Json]] = {name: [] for name in GROUPS}
    kept = {one.name for one in _images(asked, record.test_id)}
    for one in record.result["changed"]:
        changed[group_of(one)].append({**one, "kept": one["name"] in kept})
    try:
        state = station.store.bundles.get(record.bundle_id).state
    except NotFoundError:
        state = ""
    return {
        "trial": card,
        "state": state,
        "images": record.result["images"],
        "figures": record.result["figures"],
        "table": [
            {"line": row["before"], "shadow": row["after"], "count": row["count"]}
            for row in record.result["table"]
        ],
        "changed": changed,
        "left_out": record.result["changed_all"] - len(record.result["changed"]),
        "others": [
            trial_card(asked, one)
            for one in station.store.trials.all(test_id=record.test_id, limit=_LATEST)
            if one.id != record.id
        ],
    }


def group_of(changed: Json) -> str:
    """Return in which way a photograph with two verdicts changes sides: one of GROUPS."""
    before, after = changed["before"]["verdict"], changed["after"]["verdict"]
    if changed["label"] == GOOD:
        return "alarm" if after == "NG" else "no_alarm" if before == "NG" else "other"
    return "missed" if after == "OK" else "caught" if before == "OK" else "other"


def trial_card(asked: Asked, record: TrialRecord) -> Json:
    """Return a before and after without its photographs, with the names of both bundles and whether the one
    it was measured against is still on the line."""
    view = trial_view(asked.station, record)
    result = view.pop("result")
    on_line = {one.record.id for one in asked.station.line.active.on_line()}
    return view | {
        "good": result["good"],
        "bad": result["bad"],
        "auroc_gain": result["auroc_gain"],
        "after": bundle_view(asked.station, record.bundle_id),
        "before": bundle_view(asked.station, record.against),
        "is_current": record.against in on_line or record.bundle_id in on_line,
    }


def latest_trials(asked: Asked) -> dict[str, Json]:
    """Return the latest before and after of each bundle."""
    found: dict[str, Json] = {}
    for one in asked.station.store.trials.all():
        if one.bundle_id not in found:
            found[one.bundle_id] = trial_card(asked, one)
    return found


def bench_of(asked: Asked, record: BundleRecord) -> Json:
    """Return with what a bundle can be measured: the test sets of its product and the one it would replace;
    and how often somebody has looked at TEST with it."""
    station = asked.station
    before = replaced_by(station, record)
    sets = [
        one
        for one in station.store.trials.sets()
        if not one.product or record.product in ("", "all", one.product)
    ]
    return {
        "tests": [test_json(station, one) for one in sets],
        "against": None
        if before is None
        else bundle_view(station, before.id) | {"line": before.state == LINE},
        "looks": len(station.store.trials.all(bundle_id=record.id)),
    }


def _images(asked: Asked, test: str) -> list[SetImage]:
    try:
        return asked.station.tests.images(test)
    except NotFoundError:  # the set was removed; what was seen stays
        return []


def _counted(test: Json) -> Json:
    good = test["counts"].get(GOOD, 0)
    return test | {"good": good, "bad": sum(test["counts"].values()) - good}


add_page(router, "/tests", PageKind("models", "tests.html", RoleName.ENGINEER), tests_context)
add_page(router, "/tests/{id}", PageKind("models", "test.html", RoleName.ENGINEER), test_context)
add_page(router, "/trials/{id}", PageKind("models", "trial.html", RoleName.ENGINEER), trial_context)


@router.get("/tests/{id}/{name}/thumb.jpg")
async def picture(request: Request, id: str, name: str, side: int = 160) -> Response:
    """Return a photograph of a test set as a browser can show it, no larger than `side`."""
    asked = await asked_for(request, RoleName.ENGINEER)
    if side not in _SIDES:
        raise RequestError("There is no picture of this size", expected=f"one of {_SIDES}", found=str(side))

    def make() -> Response:
        pixels = read_bytes(asked.station.tests.read(id, name), name="photograph").pixels
        headers = {"cache-control": "private, max-age=3600"}
        return Response(encode(thumbnail(pixels, side), ".jpg"), media_type="image/jpeg", headers=headers)

    return await run_in_threadpool(make)
