"""Inspect: is this part good? And one inspected part with all that explains it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flawscope.app.active import Opened as OnLine
from flawscope.app.pages.opened import opened_of, picture_of
from flawscope.app.pages.page import Asked, PageKind, add_page, show
from flawscope.app.pages.pictures import view_px
from flawscope.app.pages.view import part_view
from flawscope.core.errors import BundleError, NotFoundError
from flawscope.core.types import Json
from flawscope.runtime.explain import Explaining, with_nearest
from flawscope.runtime.explain.anomaly import NAME

router = APIRouter(include_in_schema=False)
_COMPARED = 3  # regions that are shown beside good parts


@router.get("/")
async def start() -> Response:
    """Send who comes to the front door to Inspect."""
    return RedirectResponse("/inspect", status_code=307)


def inspect_context(asked: Asked) -> Json:
    """Return the part that is looked at (by `id`), and what may be inspected."""
    station = asked.station
    on_line = [one.record for one in station.line.active.on_line()]
    record = station.store.inspections.find_one(asked.text("id")) if asked.text("id") else None
    products = sorted({product for one in station.line.active.on_line() for product in _products(one)})
    return {
        "shown": None
        if record is None
        else part_view(station, opened_of(asked.request), record, seen_by=asked.who.name),
        "models": [{"id": one.id, "name": one.name, "product": one.product} for one in on_line],
        "products": products,
        "chosen": {
            "product": asked.text("product"),
            "lot": asked.text("lot", longest=100),
            "follow": asked.text("follow") == "1",
        },
    }


def part_context(asked: Asked) -> Json:
    """Return one inspected part, by the id in the path."""
    store = asked.station.store
    record = store.inspections.get(asked.request.path_params["id"])
    return {"part": part_view(asked.station, opened_of(asked.request), record, seen_by=asked.who.name)}


def why_context(asked: Asked) -> Json:
    """Return a part's highest regions, each beside the good patches that it resembles most."""
    station = asked.station
    opened = opened_of(asked.request)
    record = station.store.inspections.get(asked.request.path_params["id"])
    regions: list[Json] = []
    try:
        inspector = opened.inspector(record.bundle_id)
        image = picture_of(station, opened, record)
        explaining = Explaining(inspector, (NAME,))
        explanations = explaining(image).explanations
        nearest = with_nearest(explaining.known, image, explanations[0]).nearest if explanations else ()
    except (NotFoundError, BundleError):
        nearest = ()
    for number, normals in enumerate(nearest[:_COMPARED]):
        box = explanations[0].regions[number].box_xyxy
        side = view_px(box, image.pixels)
        regions.append(
            {
                "number": number + 1,
                "picture": f"/i/{record.id}/region/{number}.jpg",
                "good": [
                    {
                        "image": one.image,
                        "distance": one.distance,
                        "similarity": one.similarity,
                        "picture": _good(record.bundle_id, one.thumbnail, one.box_xyxy, side=side),
                    }
                    for one in normals
                    if one.thumbnail >= 0
                ],
            }
        )
    return {"regions": regions}


def _good(bundle: str, number: int, box_xyxy: tuple[int, int, int, int], *, side: float) -> str:
    left, top, right, bottom = box_xyxy
    place = f"x={left}&y={top}&w={right - left}&h={bottom - top}&side={round(side)}"
    return f"/b/{bundle}/good/{number}.jpg?{place}"


def _products(one: OnLine) -> list[str]:
    record, inspector = one.record, one.inspector
    return [*({record.product} if record.product else ()), *inspector.bundle.contents.calibrations]


add_page(router, "/inspect", PageKind("inspect", "inspect.html"), inspect_context)
add_page(router, "/i/{id}", PageKind("history", "part.html"), part_context)


@router.get("/i/{id}/panel")
async def panel(request: Request) -> Response:
    """Return the panel of a part alone."""
    return await show(request, PageKind("inspect", "pieces/panel.html"), part_context)


@router.get("/i/{id}/why")
async def why(request: Request) -> Response:
    """Return a part's regions beside the nearest good parts, as a piece of a page."""
    return await show(request, PageKind("inspect", "pieces/why.html"), why_context)
