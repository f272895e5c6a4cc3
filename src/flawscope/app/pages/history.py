"""History: find parts; yield, trend and Pareto of what was found, every number a link to its parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter

from flawscope.app.charts import pareto, stacked
from flawscope.app.pages.filters import chosen, filters_of, link, with_one, without
from flawscope.app.pages.page import Asked, PageKind, add_page, renderer_of
from flawscope.core.types import Json
from flawscope.store.clock import iso
from flawscope.store.history import Bucket, Counts
from flawscope.store.inspections import Filters
from flawscope.store.records import InspectionRecord

router = APIRouter(include_in_schema=False)
_ROWS, _PICTURES, _PRINTED = 50, 96, 500
_HOUR_US = timedelta(hours=1) // timedelta(microseconds=1)
_STEPS = (("hour", _HOUR_US), ("day", 24 * _HOUR_US), ("week", 7 * 24 * _HOUR_US))
_BARS = 60
_VIEWS = ("rows", "pictures", "print")


def history_context(asked: Asked) -> Json:
    """Return the parts that the filters of the URL leave, with their counts."""
    store = asked.station.store
    filters, pairs = filters_of(asked), chosen(asked)
    view = asked.text("view") if asked.text("view") in _VIEWS else _VIEWS[0]
    limit = {"rows": _ROWS, "pictures": _PICTURES, "print": _PRINTED}[view]
    with ThreadPoolExecutor(1) as beside:
        counting = beside.submit(_trend, asked, filters)  # takes as long as all the rest
        page = store.inspections.page(filters, after=asked.text("after") or None, limit=limit)
        lots = store.history.by(filters, "lot", limit=8)
        found = store.history.pareto(filters, limit=8)
        step, buckets = counting.result()
    counts = sum((one.counts for one in buckets), Counts())  # every part is in one: not counted twice
    shown = [] if view == _VIEWS[0] else [("view", view)]
    return {
        "filters": [
            {"name": name, "value": value, "without": link([*without(pairs, (name, value)), *shown])}
            for name, value in pairs
        ],
        "query": urlencode(pairs),
        "view": view,
        "views": {one: link([*pairs, ("view", one)]) for one in _VIEWS},
        "counts": counts.to_json(),
        "links": {
            verdict: link(with_one(pairs, "verdict", verdict))
            for verdict in ("OK", "REVIEW", "NG", "NOT_JUDGED")
        },
        "lots": [
            {"name": one.name, "href": link(with_one(pairs, "lot", one.name)), **one.counts.to_json()}
            for one in lots
            if one.name
        ],
        "pareto": [
            {
                "name": name,
                "count": count,
                "href": link(with_one(pairs, "defect", name)) if name else link(pairs),
            }
            for name, count in found
        ],
        "step": step,
        "trend": [_span(one, pairs) for one in buckets[-_BARS:]],
        "rows": [_row(one) for one in page.records],
        "next": None if page.after is None else link([*pairs, *shown, ("after", page.after)]),
        "is_first": not asked.text("after"),
        "names": {
            group: store.history.names(group, limit=100) for group in ("product", "lot", "station", "defect")
        },
        "disagreed_link": link(with_one(pairs, "disagreed", "1")),
    }


def drawn(asked: Asked, values: Json) -> Json:
    """Return the context with its charts as SVG."""
    words = renderer_of(asked.request).words(asked.look.language)
    named = [
        row | {"name": row["name"] or words.say("no class named"), "share": 0.0} for row in values["pareto"]
    ]
    names = {"ok": words.say("OK"), "review": words.say("REVIEW"), "ng": words.say("NG")}
    write = words.day if values["step"] != "hour" else words.when
    return values | {
        "pareto_svg": pareto(named, title=words.say("Likeliest defects"), write=words.count),
        "trend_svg": stacked(values["trend"], names=names, title=words.say("Parts over time"), write=write),
    }


def _trend(asked: Asked, filters: Filters) -> tuple[str, list[Bucket]]:
    """Return the step (hour, day or week) and the counts of each span that holds any part."""
    history = asked.station.store.history
    span = history.span(filters)
    if span is None:
        return "hour", []
    length = span[1] - span[0]
    name, step = next((one for one in _STEPS if length / one[1] <= _BARS), _STEPS[-1])
    zone = ZoneInfo(asked.station.store.options.get().zone)
    offset = datetime.fromtimestamp(span[1] / 1e6, UTC).astimezone(zone).utcoffset() or timedelta()
    return name, history.trend(filters, step_us=step, offset_us=offset // timedelta(microseconds=1))


def _span(bucket: Bucket, pairs: list[tuple[str, str]]) -> Json:
    """Return a bar of the trend with the way to its parts."""
    begin, end = iso(bucket.from_us), iso(bucket.to_us)
    href = link(with_one(with_one(pairs, "from", begin), "to", end))
    return {"from": begin, "to": end, **bucket.counts.to_json(), "href": href}


def _row(record: InspectionRecord) -> Json:
    values = record.to_json()
    kept = ("id", "at", "station", "product", "lot", "part", "verdict", "p_value", "score", "risk", "defect")
    return {name: values[name] for name in kept} | {
        "name": values["name"] or values["part"] or record.id[:8],
        "error": None if values["error"] is None else values["error"]["message"],
        "thumb": f"/i/{record.id}/thumb.jpg" if values["image_kept"] else None,
    }


add_page(router, "/history", PageKind("history", "history.html"), history_context, drawn=drawn)
