"""Models: what is on the line, what runs in its shadow, versions with their lineage, and two side by side."""

from __future__ import annotations

import statistics

from fastapi import APIRouter

from flawscope.app.pages.opened import opened_of
from flawscope.app.pages.page import Asked, PageKind, add_page
from flawscope.app.pages.trials import bench_of, latest_trials
from flawscope.core.errors import BundleError, NotFoundError
from flawscope.core.types import Json
from flawscope.decision.calibration import promise
from flawscope.store.bundles import KEPT, LINE, SHADOW
from flawscope.store.inspections import Filters
from flawscope.store.records import BundleRecord, RoleName

router = APIRouter(include_in_schema=False)
_TIMED = 200  # latest inspections that say how long a verdict takes
_SHOWN = 60
_COMPARED = 200  # latest parts that two bundles are compared on


def models_context(asked: Asked) -> Json:
    """Return every bundle with its state, and the card of the chosen one (`bundle`)."""
    station = asked.station
    records = station.store.bundles.all()
    chosen = asked.text("bundle") or next((one.id for one in records if one.state == LINE), "")
    return {
        "on_line": [_live(asked, one) for one in records if one.state == LINE],
        "shadows": [_shadow(asked, one) for one in records if one.state == SHADOW],
        "bundles": _lineage(records),
        "chosen": chosen,
        "card": _card(asked, chosen, records),
        "trials": latest_trials(asked),
        "changes": [one.to_json() for one in station.store.bundles.history(limit=12)],
    }


def differences_context(asked: Asked) -> Json:
    """Return the parts on which a bundle in the shadow and the line differ."""
    store = asked.station.store
    record = store.bundles.get(asked.text("bundle"))
    table = store.shadows.table(record.id)
    found = store.shadows.disagreements(record.id, limit=_SHOWN)
    parts = {one.id: one for one in store.inspections.get_many([one.inspection_id for one in found])}
    return {
        "bundle": {"id": record.id, "name": record.name},
        "table": [{"line": line, "shadow": own, "count": count} for (line, own), count in table.items()],
        "compared": sum(table.values()),
        "pairs": [
            {
                "id": one.inspection_id,
                "name": parts[one.inspection_id].origin.name or one.inspection_id[:8],
                "thumb": f"/i/{one.inspection_id}/thumb.jpg?side=320",
                "first": {"verdict": _verdict(one.line_verdict), "p_value": parts[one.inspection_id].p_value},
                "second": {"verdict": _verdict(one.verdict), "p_value": one.p_value},
            }
            for one in found
            if one.inspection_id in parts
        ],
    }


def compare_context(asked: Asked) -> Json:
    """Return two bundles (`a` and `b`) on the latest parts whose pictures are kept, differences first."""
    store, opened = asked.station.store, opened_of(asked.request)
    first, second = store.bundles.get(asked.text("a")), store.bundles.get(asked.text("b"))
    inspectors = [opened.inspector(first.id), opened.inspector(second.id)]
    page = store.inspections.page(Filters(image_kept=True), limit=_COMPARED)
    pairs: list[Json] = []
    counts: dict[tuple[str | None, str | None], int] = {}
    for record in page.records:
        content = store.images.read(record.image_sha256)
        verdicts, values = [], []
        for inspector in inspectors:
            judged = inspector(content)
            verdicts.append(None if judged.verdict is None else judged.verdict.value)
            values.append(judged.p_value)
        counts[verdicts[0], verdicts[1]] = counts.get((verdicts[0], verdicts[1]), 0) + 1
        if verdicts[0] != verdicts[1]:
            pairs.append(
                {
                    "id": record.id,
                    "name": record.origin.name or record.id[:8],
                    "thumb": f"/i/{record.id}/thumb.jpg?side=320",
                    "first": {"verdict": verdicts[0], "p_value": values[0]},
                    "second": {"verdict": verdicts[1], "p_value": values[1]},
                }
            )
    return {
        "a": {"id": first.id, "name": first.name},
        "b": {"id": second.id, "name": second.name},
        "compared": len(page.records),
        "table": [{"line": one, "shadow": two, "count": number} for (one, two), number in counts.items()],
        "pairs": pairs[:_SHOWN],
    }


def _verdict(word: str) -> str | None:
    return word if word in ("OK", "REVIEW", "NG") else None


def _promise(asked: Asked, id: str) -> Json:
    calibration = opened_of(asked.request).inspector(id).calibration
    moved = calibration.limit_ng is not None or calibration.limit_review is not None
    return promise(calibration).to_json() | {"moved": moved}


def _live(asked: Asked, record: BundleRecord) -> Json:
    store = asked.station.store
    latest = store.inspections.page(Filters(bundle_id=record.id), limit=_TIMED).records
    times = [
        one.detail["timings_ms"]["total"] for one in latest if "total" in one.detail.get("timings_ms", {})
    ]
    before = store.bundles.before(record.product)
    return record.to_json() | {
        "promise": _promise(asked, record.id),
        "inspected": store.history.counts(Filters(bundle_id=record.id)).total,
        "median_ms": statistics.median(times) if times else None,
        "before": None if before is None else {"id": before.id, "name": before.name},
    }


def _shadow(asked: Asked, record: BundleRecord) -> Json:
    table = asked.station.store.shadows.table(record.id)
    return record.to_json() | {
        "promise": _promise(asked, record.id),
        "compared": sum(table.values()),
        "differ": sum(count for (line, own), count in table.items() if line != own),
    }


def _lineage(records: list[BundleRecord]) -> list[Json]:
    """Return bundles with parents before their children, each with its depth; the latest families first."""
    known = {one.id for one in records}
    children: dict[str, list[BundleRecord]] = {}
    for one in records:
        children.setdefault(one.parent if one.parent in known else "", []).append(one)
    found: list[Json] = []
    waiting = [(one, 0) for one in reversed(children.get("", []))]
    while waiting:
        record, depth = waiting.pop()
        found.append(record.to_json() | {"depth": depth})
        waiting += [(one, min(depth + 1, 4)) for one in reversed(children.get(record.id, []))]
    return found


def _card(asked: Asked, id: str, records: list[BundleRecord]) -> Json | None:
    record = next((one for one in records if one.id == id), None)
    if record is None:
        return None
    try:
        contents = opened_of(asked.request).inspector(id).bundle.contents
    except (NotFoundError, BundleError):
        return None
    parents = {one.id: one.parent for one in records}
    lineage, at = [], record.parent
    while at and at not in lineage:
        lineage.append(at)
        at = parents.get(at, "")
    return {
        "id": id,
        "name": record.name,
        "method": record.method,
        "backbone": contents.backbone.get("name", "–"),
        "size_hw": list(contents.preprocess.size_hw),
        "counts": dict(contents.counts),
        "created": contents.created,
        "lineage": lineage,
        "text": contents.card,
        "promise": _promise(asked, id),
        "kept": record.state == KEPT,
        "bench": bench_of(asked, record),
    }


add_page(router, "/models", PageKind("models", "models.html", RoleName.ENGINEER), models_context)
add_page(
    router,
    "/models/differences",
    PageKind("models", "differences.html", RoleName.ENGINEER),
    differences_context,
)
add_page(router, "/models/compare", PageKind("models", "compare.html", RoleName.ENGINEER), compare_context)
