"""The filters of the history: read from a URL, written into links, worded as chips by the page."""

from __future__ import annotations

from urllib.parse import urlencode

from flawscope.app.pages.page import Asked
from flawscope.core.errors import UsageError
from flawscope.store.clock import from_iso
from flawscope.store.inspections import Filters, verdict_filter

NAMES = ("product", "lot", "part", "station", "bundle", "defect")
TIMES = ("from", "to")
NUMBERS = ("risk_from", "risk_to", "score_from", "score_to")
_ALL = ("verdict", *NAMES, *TIMES, *NUMBERS, "disagreed")


def filters_of(asked: Asked) -> Filters:
    """Return the filters that a URL names; an empty one counts as not named. Raises UsageError."""
    numbers = {name: asked.number(name) for name in NUMBERS}
    times = {name: from_iso(asked.text(name)) if asked.text(name) else None for name in TIMES}
    named = {name: asked.text(name) or None for name in NAMES}
    return Filters(
        verdicts=verdict_filter(asked.texts("verdict")),
        product=named["product"],
        lot=named["lot"],
        part=named["part"],
        station=named["station"],
        bundle_id=named["bundle"],
        defect=named["defect"],
        from_us=times["from"],
        to_us=times["to"],
        risk_from=numbers["risk_from"],
        risk_to=numbers["risk_to"],
        score_from=numbers["score_from"],
        score_to=numbers["score_to"],
        disagreed=asked.text("disagreed") in ("1", "true"),
    )


def chosen(asked: Asked) -> list[tuple[str, str]]:
    """Return the filters that are set, as (name, value) in the order of the URL."""
    pairs = asked.request.query_params.multi_items()
    return [(name, value[:200]) for name, value in pairs if name in _ALL and value]


def link(pairs: list[tuple[str, str]], *, path: str = "/history") -> str:
    """Return the address of the history with these filters."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def without(pairs: list[tuple[str, str]], one: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the filters less one of them."""
    return [pair for pair in pairs if pair != one]


def with_one(pairs: list[tuple[str, str]], name: str, value: str) -> list[tuple[str, str]]:
    """Return the filters with one of a name in place of those that were set."""
    if name not in _ALL:
        raise UsageError(f"There is no filter {name!r}", expected=", ".join(_ALL))
    return [*((key, old) for key, old in pairs if key != name), (name, value)]
