"""One inspected part as pages show it: its record, where its pictures are, and its limits in common units."""

from __future__ import annotations

from flawscope.app.pages.opened import Opened, picture_of
from flawscope.app.station import Station
from flawscope.core.errors import BundleError, ImageError, NotFoundError
from flawscope.core.types import Json
from flawscope.decision.calibration import peak_limit
from flawscope.store.records import InspectionRecord

FLOOR = 0.5  # of the limit, below which a heat map is transparent where the bundle cannot be asked


def part_view(station: Station, opened: Opened, record: InspectionRecord, *, seen_by: str) -> Json:
    """Return what the image view and the panel beside it show of an inspection."""
    values = record.to_json()
    kept = values["image_kept"]
    size_hw = values["size_hw"] or (_size_of(station, opened, record) if kept else None)
    limits = values["thresholds"] or {}
    regions = [_region(region, limits.get("pixel")) for region in values["regions"]]
    chances = values["probabilities"] or {}
    return values | {
        "name": values["name"] or values["part"] or values["id"][:8],
        "bundle": bundle_view(station, record.bundle_id),
        "image": f"/i/{record.id}/image" if size_hw else None,
        "thumb": f"/i/{record.id}/thumb.jpg" if kept else None,
        "freed": not kept and bool(values["image_sha256"]),
        "heat": f"/i/{record.id}/heat.png" if kept and values["size_hw"] and values["verdict"] else None,
        "why": f"/i/{record.id}/why" if kept and regions else None,
        "floor": floor_of(opened, record.bundle_id),
        "size_hw": size_hw,
        "regions": regions,
        "probabilities": sorted(chances.items(), key=lambda pair: -pair[1]),
        "total_ms": values["timings_ms"].get("total"),
        "reviews": reviews_of(station, record.id, seen_by=seen_by),
    }


def floor_of(opened: Opened, bundle_id: str) -> float:
    """Return the share of the pixel limit below which a heat map stays transparent: the map's own REVIEW
    limit, that so many good parts pass anywhere as pass the REVIEW limit of the score."""
    try:
        inspector = opened.inspector(bundle_id)
    except (NotFoundError, BundleError):
        return FLOOR
    calibration, pixel = inspector.calibration, inspector.thresholds.pixel
    if not pixel > 0:
        return FLOOR
    limit = peak_limit(calibration.maxima, calibration.weights, alpha=calibration.review_alpha)
    return round(min(max(limit / pixel, FLOOR), 1.0), 3)


def _size_of(station: Station, opened: Opened, record: InspectionRecord) -> list[int] | None:
    """Return the size of a picture that was not judged, as far as it can be read."""
    try:
        return list(picture_of(station, opened, record).size_hw)
    except (ImageError, NotFoundError):
        return None


def bundle_view(station: Station, id: str) -> Json:
    """Return a bundle's id and name; the name is empty where the station does not know it any more."""
    try:
        return {"id": id, "name": station.store.bundles.get(id).name}
    except NotFoundError:
        return {"id": id, "name": ""}


def reviews_of(station: Station, id: str, *, seen_by: str) -> list[Json]:
    """Return what people have said of a part, first answer first."""
    return [one.to_json() for one in station.store.reviews.of(id, seen_by=seen_by)]


def _region(region: Json, pixel: float | None) -> Json:
    return {
        "box_xyxy": region["box_xyxy"],
        "area_px": region["area_px"],
        "outline": region.get("contour") or _corners(region["box_xyxy"]),
        "peak_limits": region["peak"] / pixel if pixel else None,
    }


def _corners(box_xyxy: list[int]) -> list[list[int]]:
    left, top, right, bottom = box_xyxy
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
