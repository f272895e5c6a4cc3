"""The report as one HTML file: no script, no network, no file beside it; it opens from `file://`.

Pictures are embedded within a size budget, mistakes first. The page forbids itself every outside source by a
content security policy, so that even a hostile file name could load nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from flawscope.core.types import Report
from flawscope.report import format as fmt
from flawscope.report import sections
from flawscope.report.charts import all_charts
from flawscope.report.learning import PREFIX
from flawscope.report.picture import Kind, Picture, grouped

BUDGET_BYTES = 6_000_000
CARD_BYTES = 4_000  # the markup around one picture, generously
LINK_BYTES = 2_000  # headings of groups and the links to them, which the bare page lacks


@dataclass(frozen=True)
class _Shown:
    """Pictures that fit the budget, by kind, and how many did not."""

    groups: dict[Kind, list[Picture]]
    left_out: int


def render(report: Report, *, pictures: Sequence[Picture] = (), budget_bytes: int = BUDGET_BYTES) -> str:
    """Return the page as HTML text. Its UTF-8 size stays within `budget_bytes` as long as the page without
    any picture does: pictures are taken mistakes first; those that no longer fit are left out and counted.
    """
    bare = len(_page(report, _Shown({}, len(pictures))).encode(errors="replace")) + LINK_BYTES
    return _page(report, _fitting(report, pictures, room=budget_bytes - bare))


def _fitting(report: Report, pictures: Sequence[Picture], *, room: int) -> _Shown:
    groups: dict[Kind, list[Picture]] = {}
    left_out = 0
    for kind, members in grouped(pictures, report).items():
        for picture in members:
            name_bytes = 6 * len(picture.judged.inspection.path.encode(errors="replace"))
            need = CARD_BYTES + name_bytes
            need += 4 * (len(picture.image_jpeg) + len(picture.overlay_jpeg)) // 3 + 8
            if need > room:
                left_out += 1
                continue
            room -= need
            groups.setdefault(kind, []).append(picture)
    return _Shown(groups, left_out)


def templates() -> Environment:
    """Return the environment of the pages' templates: everything escaped, numbers written as everywhere."""
    environment = Environment(
        loader=PackageLoader("flawscope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=fmt.percent,
        score=fmt.score,
        p_value=fmt.p_value,
        count=fmt.count,
        size=fmt.size,
        moment=fmt.moment,
        jpeg=_data_uri,
    )
    return environment


def _page(report: Report, shown: _Shown) -> str:
    groups = sections.picture_groups(shown.groups, report)
    return (
        templates()
        .get_template("page.html")
        .render(
            report=report,
            tested=bool(report.judged or report.metrics),
            headline=sections.headline(report),
            promise_kind=sections.mode_words(report),
            verdict_words=sections.WORDS,
            delivered=sections.delivered(report),
            metric_groups=sections.metric_groups(report),
            charts=all_charts(report),
            learnt=any(name.startswith(PREFIX) for name in report.curves),
            confusion=sections.confusion(report),
            defects=sections.defects(report),
            classes=sections.classes(report),
            products=sections.products(report),
            picture_groups=groups,
            shown_groups=[anchor for anchor, *_ in groups],
            pictures_left_out=shown.left_out,
            not_judged=sections.not_judged(report),
            costs=sections.costs(report),
            settings=sections.flat(report.settings),
            traces=sections.traces(report),
        )
    )


def _data_uri(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
