"""Pictures for pages: photographs as a browser can show them, small ones, heat maps, cut-outs of regions and
of the good parts they are compared with. All are addressed by the inspection; no path comes from a client."""

from __future__ import annotations

import struct

import numpy as np
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.pages.opened import Opened, opened_of, picture_of
from flawscope.app.pages.page import asked_for
from flawscope.app.station import Station
from flawscope.core.errors import ImageError, NotFoundError, RequestError
from flawscope.core.types import Array
from flawscope.imaging.panel import cut_out
from flawscope.imaging.read import read_bytes
from flawscope.imaging.write import encode, thumbnail
from flawscope.store.records import RoleName

router = APIRouter(include_in_schema=False)
_PNG = b"\x89PNG\r\n\x1a\n"
_KEPT = {"cache-control": "private, max-age=86400, immutable"}  # what an inspection shows never changes
_SIDES = (96, 160, 320, 640)
_UNREADABLE = 90  # grey


def browser_type(content: bytes) -> str:
    """Return the media type of a file that browsers show as we read it: JPEG, and PNG of 8 bits in grey or
    RGB; empty for anything else."""
    if content[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if content[:8] == _PNG and content[12:16] == b"IHDR":
        bits, colour = struct.unpack_from("BB", content, 24)
        return "image/png" if bits == 8 and colour in (0, 2) else ""
    return ""


@router.get("/i/{id}/image")
async def image(request: Request, id: str) -> Response:
    """Return a part's photograph; what browsers do not show is sent as PNG."""
    asked = await asked_for(request, RoleName.OPERATOR)

    def make() -> Response:
        record = asked.station.store.inspections.get(id)
        content = asked.station.store.images.read(record.image_sha256)
        kind = browser_type(content)
        if not kind:
            pixels = picture_of(asked.station, opened_of(request), record).pixels
            content, kind = encode(pixels, ".png"), "image/png"
        return Response(content, media_type=kind, headers=_KEPT)

    return await run_in_threadpool(make)


@router.get("/i/{id}/thumb.jpg")
async def thumb(request: Request, id: str, side: int = 160) -> Response:
    """Return a small picture of a part; a grey one where the file cannot be read."""
    asked = await asked_for(request, RoleName.OPERATOR)
    if side not in _SIDES:
        raise RequestError("There is no picture of this size", expected=f"one of {_SIDES}", found=str(side))

    def make() -> Response:
        record = asked.station.store.inspections.get(id)
        try:
            pixels = thumbnail(picture_of(asked.station, opened_of(request), record).pixels, side)
        except ImageError:
            pixels = np.full((side * 3 // 4, side), _UNREADABLE, np.uint8)
        return Response(encode(pixels, ".jpg"), media_type="image/jpeg", headers=_KEPT)

    return await run_in_threadpool(make)


@router.get("/i/{id}/heat.png")
async def heat(request: Request, id: str) -> Response:
    """Return a part's heat map: 8-bit grey, 0 to 255 is 0 to 2 limits."""
    asked = await asked_for(request, RoleName.OPERATOR)
    png = await run_in_threadpool(asked.station.store.inspections.heat, id)
    if png is None:
        raise NotFoundError(f"No heat map is kept of inspection {id[:40]}")
    return Response(png, media_type="image/png", headers=_KEPT)


@router.get("/i/{id}/region/{number}.jpg")
async def region(request: Request, id: str, number: int) -> Response:
    """Return a cut-out around one of a part's regions (from 0)."""
    asked = await asked_for(request, RoleName.OPERATOR)

    def make() -> Response:
        record = asked.station.store.inspections.get(id)
        regions = record.to_json()["regions"]
        if not 0 <= number < len(regions):
            raise NotFoundError(f"This part has no region {number}")
        pixels = picture_of(asked.station, opened_of(request), record).pixels
        left, top, right, bottom = regions[number]["box_xyxy"]
        return _cut(pixels, (left, top, right, bottom), side_px=view_px((left, top, right, bottom), pixels))

    return await run_in_threadpool(make)


@router.get("/b/{bundle}/good/{number}/whole.jpg")
async def whole_good(request: Request, bundle: str, number: int) -> Response:
    """Return one of a bundle's good photographs as a small picture."""
    asked = await asked_for(request, RoleName.OPERATOR)
    picture = await run_in_threadpool(good_picture, asked.station, opened_of(request), bundle, number)
    return Response(picture, media_type="image/jpeg", headers=_KEPT)


@router.get("/b/{bundle}/good/{number}.jpg")
async def good(
    request: Request, bundle: str, number: int, x: int, y: int, w: int, h: int, side: int
) -> Response:
    """Return a cut-out of one of a bundle's good photographs: the box (x, y, w, h) and the view's `side` are
    in pixels of that photograph."""
    asked = await asked_for(request, RoleName.OPERATOR)

    def make() -> Response:
        opened = opened_of(request)
        small = read_bytes(good_picture(asked.station, opened, bundle, number), name="good part").pixels
        references = opened.inspector(bundle).bundle.contents.references
        assert references is not None
        scale = small.shape[1] / max(int(references.sizes_hw[number][1]), 1)
        places = [round(min(max(value, 0), 100_000) * scale) for value in (x, y, x + w, y + h)]
        box = (places[0], places[1], max(places[2], places[0] + 1), max(places[3], places[1] + 1))
        return _cut(small, box, side_px=min(max(side, 8), 100_000) * scale)

    return await run_in_threadpool(make)


def good_picture(station: Station, opened: Opened, bundle: str, number: int) -> bytes:
    """Return one of a bundle's good photographs as JPEG. Raises NotFoundError where it keeps none."""
    station.store.bundles.get(bundle)
    references = opened.inspector(bundle).bundle.contents.references
    if (
        references is None
        or not 0 <= number < len(references.thumbnails)
        or not references.thumbnails[number]
    ):
        raise NotFoundError("The bundle keeps no such picture")
    return references.thumbnails[number]


def view_px(box_xyxy: tuple[int, int, int, int], pixels: Array) -> float:
    """Return the side of the square that shows a region with what is around it."""
    left, top, right, bottom = box_xyxy
    return float(max(2.0 * max(right - left, bottom - top), 0.15 * max(pixels.shape[:2])))


def _cut(pixels: Array, box_xyxy: tuple[int, int, int, int], *, side_px: float) -> Response:
    square = cut_out(pixels, box_xyxy, side_px=min(side_px, 2.0 * max(pixels.shape[:2])))
    return Response(encode(square, ".jpg"), media_type="image/jpeg", headers=_KEPT)
