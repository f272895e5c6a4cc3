"""The risks of a set as one HTML file: a work list first, then what the set says together.

No script, no network, no file beside it. Pictures are those of the riskiest parts, within the size budget of
the report's page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flawscope.core.types import Metric
from flawscope.decision.bands import Band
from flawscope.decision.rated import Group, RatedSample, RiskReport
from flawscope.decision.risk import BASE, INTENSE, LARGE, MANY
from flawscope.metrics.comparison import Test
from flawscope.report import format as fmt
from flawscope.report import sections
from flawscope.report.page import BUDGET_BYTES, environment
from flawscope.report.risk_charts import qrs_histogram, risk_histogram
from flawscope.report.svg import Chart

LISTED = 200  # rows of the work list; the tables have all
_NAMES = {
    "sure": "How sure",
    "large": "How large",
    "intense": "How intense",
    "many": "How many",
    "where": "Where",
}
_MOST = {"sure": BASE, "large": LARGE, "intense": INTENSE, "many": MANY, "where": 100.0 - BASE}


@dataclass(frozen=True, eq=False)
class Photo:
    """One of the riskiest parts with small pictures that the caller has made; the overlay is empty for a part
    called OK, of which no flaw is shown."""

    rated: RatedSample
    image_jpeg: bytes
    overlay_jpeg: bytes = b""
    mask_outlined: bool = False


@dataclass(frozen=True)
class _Bar:
    """One factor as a small bar."""

    name: str
    points: float
    share: float  # of the most that it can contribute, 0 to 1
    measured: str


@dataclass(frozen=True, eq=False)
class _Entry:
    """One part of the work list."""

    rank: int
    one: RatedSample
    bars: tuple[_Bar, ...]
    look: str
    photo: Photo | None


@dataclass(frozen=True)
class _Row:
    """One measure over the set, of risk and of qrs."""

    title: str
    meaning: str
    cells: tuple[tuple[str, str], ...]  # value, and interval or reason


def render_risk(report: RiskReport, *, photos: Sequence[Photo] = (), budget_bytes: int = BUDGET_BYTES) -> str:
    """Return the page as HTML text; photographs that do not fit the budget are left out, the least risky
    first."""
    room, kept = budget_bytes, []
    for photo in photos:
        room -= 4 * (len(photo.image_jpeg) + len(photo.overlay_jpeg)) // 3 + 500
        if room < 0:
            break
        kept.append(photo)
    by_id = {id(photo.rated): photo for photo in kept}
    ranked = report.ranked()
    entries = [_entry(rank, one, by_id.get(id(one))) for rank, one in enumerate(ranked[:LISTED], 1)]
    charts: list[Chart] = [
        chart for chart in (risk_histogram(report), qrs_histogram(report)) if chart is not None
    ]
    missing = [one for one in report.rated if one.risk is None]
    return (
        environment()
        .get_template("risk.html")
        .render(
            report=report,
            bands=_band_rows(report),
            has_labels=any(one.sample.label is not None for one in ranked),
            judged=len(ranked),
            auroc=_figure(report.analysis.risk.auroc),
            auroc_qrs=_figure(report.analysis.qrs.auroc),
            cards=[entry for entry in entries if entry.photo is not None],
            entries=[entry for entry in entries if entry.photo is None],
            more=len(ranked) - len(entries),
            charts=charts,
            rows=_rows(report),
            groups=_groups(report),
            meanings=_meanings(report),
            regions=_counts(one.rated.region for one in ranked),
            rests_on=_counts(one.rated.qrs_rests_on for one in ranked),
            missing=missing[: sections.NOT_JUDGED_ROWS],
            missing_more=max(len(missing) - sections.NOT_JUDGED_ROWS, 0),
            limits=[
                ("medium", report.limits.medium),
                ("high", report.limits.high),
                ("critical", report.limits.critical),
            ],
        )
    )


def _entry(rank: int, one: RatedSample, photo: Photo | None) -> _Entry:
    rating = one.rated.rating
    assert rating is not None
    bars = tuple(
        _Bar(
            _NAMES[factor.name],
            factor.points,
            min(1.0, max(0.0, factor.points / _MOST[factor.name])),
            _measured(factor.name, factor.measured),
        )
        for factor in rating.factors
        if factor.measured is not None
    )
    return _Entry(rank, one, bars, _look(one), photo)


def _measured(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("sure", "large"):
        return fmt.percent(value)
    if name == "intense":
        return f"{value:.2f} over the limit"
    if name == "many":
        return "no place" if value == 0 else "1 place" if value == 1 else f"{value:.0f} places"
    return f"weight {value:g}"


def _look(one: RatedSample) -> str:
    """Say what a reviewer should look at first."""
    found = one.rated.inspection
    if not found.regions or found.size_hw is None:
        return "No place stands out: look at the whole part."
    first = max(found.regions, key=lambda region: region.peak * region.area_px)
    left, top, right, bottom = first.box_xyxy
    height, width = found.size_hw
    down = ("top", "middle", "bottom")[min(2, int(3 * (top + bottom) / 2 / height))]
    across = ("left", "centre", "right")[min(2, int(3 * (left + right) / 2 / width))]
    place = "in the centre" if (down, across) == ("middle", "centre") else f"{down} {across}"
    others = len(found.regions) - 1
    more = "" if not others else ", then 1 more place" if others == 1 else f", then {others} more places"
    return f"Look first {place}, {right - left}x{bottom - top} px at ({left}, {top}){more}."


def _band_rows(report: RiskReport) -> list[tuple[str, int, int, int]]:
    """Return each band with how many photographs it holds, how many of them good, how many defective."""
    rows = []
    for band in reversed(Band):
        members = [one.sample for one in report.rated if one.rated.band is band]
        rows.append(
            (band.value, len(members), sum(s.is_good for s in members), sum(s.is_bad for s in members))
        )
    return rows


def _figure(metric: Metric) -> sections.Figure:
    inside = metric.value is not None and metric.low is not None and metric.high is not None
    return sections.Figure(
        title="AUROC",
        meaning="",
        value=fmt.value(metric, fmt.ratio),
        interval=fmt.interval(metric, fmt.ratio),
        n=metric.n,
        reason=metric.reason if metric.value is None else "",
        extent=(metric.low or 0.0, metric.value or 0.0, metric.high or 0.0) if inside else None,
    )


def _rows(report: RiskReport) -> tuple[_Row, ...]:
    ours, theirs = report.analysis.risk, report.analysis.qrs

    def row(title: str, meaning: str, *cells: tuple[str, str]) -> _Row:
        return _Row(title, meaning, cells)

    return (
        row(
            "AUROC",
            "chance that a defective part has the higher score",
            *(_metric(one.auroc, fmt.ratio) for one in (ours, theirs)),
        ),
        row("Welch's t-test", "p, for the means", *(_test(one.welch, "t") for one in (ours, theirs))),
        row("Mann-Whitney", "p, for the ranks", *(_test(one.mann_whitney, "U") for one in (ours, theirs))),
        row(
            "Hedges' g",
            "difference of the means in deviations",
            *(_metric(one.hedges_g, lambda value: f"{value:.2f}") for one in (ours, theirs)),
        ),
        row(
            "Cliff's delta",
            "how much more often the defective part is higher; the rank-biserial correlation",
            *(_metric(one.cliffs_delta, lambda value: f"{value:.3f}") for one in (ours, theirs)),
        ),
        row("Mean of the defective", "", (_mean(ours.mean_bad, 1), ""), (_mean(theirs.mean_bad, 4), "")),
        row("Mean of the good", "", (_mean(ours.mean_good, 1), ""), (_mean(theirs.mean_good, 4), "")),
    )


def _mean(value: float | None, places: int) -> str:
    return fmt.NOT_KNOWN if value is None else f"{value:.{places}f}"


def _metric(metric: Metric, formatter: fmt.Formatter) -> tuple[str, str]:
    if metric.value is None:
        return fmt.NOT_KNOWN, metric.reason
    return formatter(metric.value), fmt.interval(metric, formatter)


def _test(test: Test, letter: str) -> tuple[str, str]:
    if test.p is None or test.statistic is None:
        return fmt.NOT_KNOWN, test.reason
    return _p(test.p), f"{letter} = {test.statistic:.5g}"


def _p(value: float) -> str:
    return f"<{fmt.NBSP}1e-300" if value < 1e-300 else fmt.p_value(value)


def _groups(report: RiskReport) -> list[tuple[str, str, str, tuple[tuple[Group, tuple[str, str]], ...]]]:
    """Return anchor, title, meaning and rows of lots and defects, where there are any."""
    kinds = (
        ("defects", "By defect", "AUROC against the good parts", report.analysis.per_defect),
        ("lots", "By lot", "AUROC within the lot", report.analysis.per_lot),
    )
    return [
        (anchor, title, meaning, tuple((group, _metric(group.auroc, fmt.ratio)) for group in groups))
        for anchor, title, meaning, groups in kinds
        if groups
    ]


def _counts(words: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(words).items())


def _meanings(report: RiskReport) -> Mapping[str, str]:
    """Return what each number means, in a sentence or two."""
    sure = (
        "the calibrated probability that the part is bad"
        if report.has_classes
        else "the share of good parts that look less odd (1 - p): a rank, no probability"
    )
    return {
        "Risk": "0 to 100: how sure times what is there. Its factors add up to it. It rests on an absolute "
        "map (1.0 is the pixel limit), so that it can be compared between images.",
        "How sure": f"{sure[0].upper()}{sure[1:]}. It scales everything: a part that is surely good has no "
        f"risk; up to {BASE:g} points come from it alone.",
        "How large": f"Share of the product over the pixel limit; 2 % give half of {LARGE:g} points.",
        "How intense": "Mean excess over the limit in the hottest 0.2 % of the product; twice the limit "
        f"gives half of {INTENSE:g} points.",
        "How many": f"Separate places over the limit: none for one, half of {MANY:g} points for two.",
        "Where": "What the zones of the product add or take away; only with a zone file.",
        "Interval": "95 %, from drawing the blocks of an 8x8 grid over the product anew, the certainty held "
        "fixed: it is wide where few places decide. It does not tell how sure the bundle is.",
        "Bands": report.limits.rule[:1].upper() + report.limits.rule[1:] + ".",
        "QRS": f"As published: share of the product whose weight is above {report.threshold:g}, the weights "
        "scaled to 0..1 in each image. Every image has a hottest place, good ones too: it cannot be compared "
        "between images.",
    }
