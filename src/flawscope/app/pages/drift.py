"""Drift: has the scene changed, in what, since when; told apart from defects."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter

from flawscope.app.active import Opened
from flawscope.app.drift import looks_in
from flawscope.app.pages.page import Asked, PageKind, add_page, renderer_of
from flawscope.app.trends import Frame, Point, trend
from flawscope.core.types import Json
from flawscope.store.inspections import Filters
from flawscope.store.records import RoleName

router = APIRouter(include_in_schema=False)
_SHOWN = 120  # parts in a chart
_ALARMS = 30
_LEAST_P = 1e-4  # below it a chart says "or less"
_NEEDED = 50  # parts before a page says that nothing has changed
# the charts: measures drawn as one, in words of the template
CHARTS = ("light", "sharpness", "red", "blue", "right", "down", "agreement")
_FACTORS = frozenset({"light", "red", "blue", "sharpness"})  # logarithms; the others are shares of a side
CAUSES = ("light", "position", "layout", "part", "camera", "other")


def drift_context(asked: Asked) -> Json:
    """Return what a bundle's watch says (`bundle`, the line's first by default), with the latest parts."""
    station = asked.station
    on_line = list(station.line.active.on_line())
    chosen = next(
        (one for one in on_line if one.record.id == asked.text("bundle")), on_line[0] if on_line else None
    )
    alarms = [one.to_json() for one in station.store.alarms.all(limit=_ALARMS)]
    values: Json = {
        "bundles": [{"id": one.record.id, "name": one.record.name} for one in on_line],
        "bundle": None,
        "alarms": [one | {"change": _told(one["detail"])} for one in alarms],
        "causes": CAUSES,
        "needed": _NEEDED,
    }
    if chosen is None:
        return values
    filters = Filters(bundle_id=chosen.record.id)
    latest = [*station.store.inspections.all(filters, limit=_SHOWN)][::-1]
    watch = station.drift.watch_of(chosen.record.id)
    return values | {
        "bundle": {"id": chosen.record.id, "name": chosen.record.name},
        "watch": watch | {"going_on": [_told(one) for one in watch["going_on"]]},
        "effects": {one["measure"]: _told(one) for one in watch["effects"]},
        "odd": {
            "recent": sum(one.verdict in ("REVIEW", "NG") for one in latest[-100:]),
            "of": len(latest[-100:]),
            "expected": chosen.inspector.calibration.review_alpha * len(latest[-100:]),
        },
        "series": [
            {"id": one.id, "at": one.to_json()["at"], "p_value": one.p_value, "looks": looks_in(one)}
            for one in latest
        ],
        "usual": _usual(chosen),
        "then": _then(chosen),
        "now": latest[-1].id if latest and latest[-1].image_bytes else None,
    }


def drawn(asked: Asked, values: Json) -> Json:
    """Return the context with its charts as SVG."""
    words = renderer_of(asked.request).words(asked.look.language)
    series: Sequence[Json] = values.get("series", ())

    def points(value_of: str) -> list[Point]:
        found = []
        for one in series:
            value = one["p_value"] if value_of == "p" else one["looks"].get(value_of)
            if value is not None:
                value = max(value, _LEAST_P) if value_of == "p" else _shown(value_of, value)
                found.append(
                    Point(value, f"/i/{one['id']}", f"{words.when(one['at'])} · {words.score(value)}")
                )
        return found

    charts = {
        name: trend(
            points(name), Frame(words.say("Latest parts"), (150, 400), words.score, values["usual"].get(name))
        )
        for name in CHARTS
        if values.get("bundle") is not None
    }
    odd = Frame(words.say("p-value of the latest parts"), (200, 1000), lambda p: words.score(p, 2), log=True)
    return values | {"charts": charts, "p_chart": trend(points("p"), odd)}


def _told(change: Json) -> Json:
    """Return a change with how large it is, as a share, and in which direction."""
    amount, measure = change.get("change"), change.get("measure", "")
    share = None
    if amount is not None:
        share = abs(math.expm1(amount)) if measure in _FACTORS else abs(amount)
    return change | {"share": share, "up": None if amount is None else amount > 0}


def _shown(measure: str, value: float) -> float:
    """Return a measure in a unit that people read: factors for logarithms, per cent of a side for places."""
    return math.exp(value) if measure in _FACTORS else 100.0 * value


def _usual(opened: Opened) -> dict[str, tuple[float, float]]:
    """Return the range of each measure in which nine of ten good parts of the calibration lie."""
    scenery = opened.inspector.bundle.contents.scenery
    found = {}
    for name, values in (scenery.by_name if scenery is not None else {}).items():
        low, high = np.nanquantile(values, [0.05, 0.95]).tolist()
        found[name] = (_shown(name, low), _shown(name, high))
    return found


def _then(opened: Opened) -> str | None:
    """Return the picture of a good part that the bundle was taught with; None where it keeps none."""
    references = opened.inspector.bundle.contents.references
    thumbnails = () if references is None else references.thumbnails
    number = next((i for i, one in enumerate(thumbnails) if one), None)
    return None if number is None else f"/b/{opened.record.id}/good/{number}/whole.jpg"


add_page(router, "/drift", PageKind("drift", "drift.html", RoleName.ENGINEER), drift_context, drawn=drawn)
