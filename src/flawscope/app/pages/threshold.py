"""Threshold: both limits over the scores of good parts, and what they would do to parts that people have
judged. Test parts have no place here."""

from __future__ import annotations

from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter

from flawscope.app.charts import histogram, score_bins
from flawscope.app.pages.opened import opened_of
from flawscope.app.pages.page import Asked, PageKind, add_page, renderer_of
from flawscope.app.pages.trials import bench_of, trial_card
from flawscope.app.testing import untested, untested_answers
from flawscope.core.types import Calibration, Json
from flawscope.decision.calibration import promise, thresholds
from flawscope.metrics.intervals import wilson
from flawscope.store.inspections import Filters
from flawscope.store.records import InspectionRecord, RoleName

router = APIRouter(include_in_schema=False)
_FEWEST_BAD = 8  # below it a share of missed parts says nothing; as in threshold.js
_RECENT = 500  # inspected parts that are shown beside the reviewed ones


def threshold_context(asked: Asked) -> Json:
    """Return a bundle's calibration and limits with the parts that it has judged; by `bundle`, or the one on
    the line."""
    store = asked.station.store
    known = store.bundles.all()
    on_line = [one.record.id for one in asked.station.line.active.on_line()]
    wanted = asked.text("bundle") or (on_line[0] if on_line else (known[0].id if known else ""))
    if not wanted:
        return {"bundle": None, "bundles": []}
    record = store.bundles.get(wanted)
    calibration = opened_of(asked.request).inspector(wanted).calibration
    reviewed = [
        _part(part) | {"answer": said.said.answer, "defect": said.said.defect}
        for said, part in untested_answers(asked.station, store.reviews.of_bundle(wanted))
        if part.score is not None
    ]
    told = {one["id"] for one in reviewed}
    page = store.inspections.page(Filters(bundle_id=wanted), limit=_RECENT)
    recent = [
        _part(one)
        for one in untested(asked.station, page.records)
        if one.score is not None and one.id not in told
    ]
    limits, options = thresholds(calibration), store.options.get()
    scores = {
        "calibration": calibration.scores,
        "good": _scores(reviewed, "good"),
        "bad": _scores(reviewed, "bad"),
        "recent": np.asarray([one["score"] for one in recent], np.float64),
    }
    return {
        "bundle": {"id": record.id, "name": record.name, "product": record.product, "state": record.state},
        "bundles": [{"id": one.id, "name": one.name, "state": one.state} for one in known],
        "limits": limits.to_json(),
        "now": _now(calibration, scores["bad"]),
        "promise": promise(calibration).to_json(),
        "calibration": {"scores": calibration.scores.tolist(), "weights": calibration.weights.tolist()},
        "reviewed": reviewed,
        "recent": recent,
        "chart": score_bins(scores, (limits.review, limits.ng)),
        "moved": _moved(calibration),
        "version": calibration.version,
        "versions": [one.to_json() for one in store.calibrations.all(record.product, limit=8)],
        "costs": {
            "false_alarm": options.cost_false_alarm,
            "missed": options.cost_missed,
        },
        "bench": bench_of(asked, record),
        "trial": next((trial_card(asked, one) for one in store.trials.all(bundle_id=wanted, limit=1)), None),
        "at": asked.number("at"),
    }


def drawn(asked: Asked, values: Json) -> Json:
    """Return the context with its histogram as SVG, whose bars lead to the parts."""
    if values["bundle"] is None:
        return values
    words = renderer_of(asked.request).words(asked.look.language)

    def href(series: str, low: float, high: float) -> str:
        if series == "calibration":  # a bundle keeps their scores, not their pictures
            return ""
        span = {"score_from": f"{low:.6g}"} | ({"score_to": f"{high:.6g}"} if high < float("inf") else {})
        return "/history?" + urlencode({"bundle": values["bundle"]["id"], **span})

    say = words.say
    names = {
        "calibration": say("Good parts of the calibration"),
        "good": say("Reviewed as OK"),
        "bad": say("Reviewed as NG"),
        "recent": say("Inspected, not reviewed"),
    }
    marks = [
        ("review", values["limits"]["review"], say("REVIEW limit")),
        ("ng", values["limits"]["ng"], say("NG limit")),
        ("here", values["at"], say("this part")),
    ]
    svg = histogram(
        values["chart"],
        names=names,
        title=say("Scores and limits"),
        write=words.score,
        href=href,
        marks=marks,
    )
    return values | {"histogram": svg}


def _part(record: InspectionRecord) -> Json:
    return {
        "id": record.id,
        "score": record.score,
        "verdict": record.verdict,
        "name": record.origin.name or record.origin.part or record.id[:8],
        "thumb": f"/i/{record.id}/thumb.jpg",
    }


def _scores(parts: list[Json], answer: str) -> np.ndarray:
    return np.asarray([one["score"] for one in parts if one["answer"] == answer], np.float64)


def _now(calibration: Calibration, bad: np.ndarray) -> Json:
    """Return what the limits do as they are, each with its interval: the shares of good parts that are called
    NG and that are not called OK, and the share of reviewed bad parts that are missed (None: too few)."""
    limits, parts = thresholds(calibration), promise(calibration).parts

    def above(limit: float | None) -> float:
        return 0.0 if limit is None else float(calibration.weights[calibration.scores > limit].sum())

    def share(count: float, of: int) -> Json:
        return {"share": count / of, "of": of, "interval": list(wilson(count, of))}

    lowest = min((limit for limit in (limits.review, limits.ng) if limit is not None), default=None)
    missed = int((bad <= lowest).sum()) if lowest is not None else len(bad)
    return {
        "overkill": share(above(limits.ng), parts),
        "not_ok": share(above(lowest), parts),
        "escape": share(missed, len(bad)) if len(bad) >= _FEWEST_BAD else None,
        "bad": len(bad),
    }


def _moved(calibration: Calibration) -> str:
    moved = calibration.limit_ng is not None or calibration.limit_review is not None
    return (calibration.limit_reason or "–") if moved else ""


add_page(
    router,
    "/threshold",
    PageKind("threshold", "threshold.html", RoleName.ENGINEER),
    threshold_context,
    drawn=drawn,
)
