"""What each section of the page says, as plain values for the templates: counts, comparisons, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flawscope.core.types import GOOD, CalibrationMode, Judged, Metric, Report, Verdict
from flawscope.report import format as fmt
from flawscope.report.metric_words import GROUP_TITLES, words
from flawscope.report.picture import Kind, Picture

NOT_JUDGED = "not_judged"
NOT_JUDGED_ROWS = 200
WORDS: Mapping[str, str] = {
    Verdict.OK.value: "OK",
    Verdict.REVIEW.value: "REVIEW",
    Verdict.NG.value: "NG",
    NOT_JUDGED: "NOT JUDGED",
}
KIND_WORDS: Mapping[Kind, tuple[str, str]] = {
    Kind.MISSED: ("Missed defects", "Defective parts called OK, the least conspicuous first."),
    Kind.FALSE_ALARM: ("False alarms", "Good parts called NG, the highest scores first."),
    Kind.REVIEW: ("Sent to review", "Defective parts first, then good ones."),
    Kind.HARDEST: ("Right, but close", "Right verdicts nearest to their limit."),
    Kind.CLEAREST: ("Clearly right", "Right verdicts farthest from their limit."),
    Kind.UNLABELLED: ("Not labelled", "Nobody said what these are; the highest scores first."),
    Kind.NOT_JUDGED: ("Not judged", "No verdict could be given."),
}


@dataclass(frozen=True)
class VerdictRow:
    """How often a verdict was given."""

    key: str
    word: str
    total: int
    share: float | None
    good: int
    bad: int
    unlabelled: int


@dataclass(frozen=True)
class Figure:
    """A metric as it is shown: number, interval, n, or why it is not known."""

    title: str
    meaning: str
    value: str
    interval: str
    n: int
    reason: str
    extent: tuple[float, float, float] | None  # low, value, high on 0 to 1, for the small bar


@dataclass(frozen=True)
class Headline:
    """The first thing on the page."""

    rows: tuple[VerdictRow, ...]
    images: int
    good: int
    bad: int
    unlabelled: int
    false_alarms: Figure
    missed: Figure


@dataclass(frozen=True)
class Delivered:
    """A promise beside what was measured; `state` is kept, unclear, broken or unknown."""

    wish: str
    measured: str
    detail: str
    state: str
    judgement: str


@dataclass(frozen=True)
class ConfusionRow:
    """One label's verdicts: count and share in the label, in the order of WORDS."""

    label: str
    cells: tuple[tuple[str, int, float], ...]  # verdict key or class, count, share
    total: int


@dataclass(frozen=True)
class Defects:
    """The table of defects, or of products: a column a metric, a row a defect."""

    columns: tuple[tuple[str, str], ...]  # title, meaning
    rows: tuple[tuple[str, tuple[Figure | None, ...]], ...]


@dataclass(frozen=True)
class Card:
    """One picture with what was found."""

    picture: Picture
    key: str
    word: str
    label: str
    title: str
    facts: tuple[tuple[str, str], ...]
    peak: float | None  # of the map, in pixel thresholds


def headline(report: Report) -> Headline:
    """Count verdicts and take the two error rates."""
    judged = report.judged
    good = [one for one in judged if one.sample.is_good]
    bad = [one for one in judged if one.sample.is_bad]
    loose = [one for one in judged if one.sample.label is None]
    rows = tuple(
        VerdictRow(
            key=key,
            word=word,
            total=_times(judged, key),
            share=_times(judged, key) / len(judged) if judged else None,
            good=_times(good, key),
            bad=_times(bad, key),
            unlabelled=_times(loose, key),
        )
        for key, word in WORDS.items()
    )
    return Headline(
        rows=rows,
        images=len(judged),
        good=len(good),
        bad=len(bad),
        unlabelled=len(loose),
        false_alarms=_verdict_figure(report, "overkill", missing="good test parts"),
        missed=_verdict_figure(report, "escape", missing="defective test parts"),
    )


def delivered(report: Report) -> tuple[Delivered, ...]:
    """Set the wished rates of false alarms and of good parts not called OK beside what TEST showed."""
    promise = report.promise
    measured = report.metrics.get("verdict", {}).get("overkill")
    good = [one for one in report.judged if one.sample.is_good and one.inspection.verdict is not None]
    not_ok = sum(one.inspection.verdict is not Verdict.OK for one in good)
    found = []
    if measured is not None:
        state, judgement = _judge(measured, alpha=promise.alpha, bound=promise.bound)
        found.append(
            Delivered(
                wish=f"At most {fmt.percent(promise.alpha)} of good parts called NG",
                measured=fmt.value(measured, fmt.percent),
                detail=_rests_on(measured),
                state=state,
                judgement=judgement,
            )
        )
    if good:
        share = not_ok / len(good)
        wish = promise.review_alpha
        found.append(
            Delivered(
                wish=f"At most {fmt.percent(wish)} of good parts not called OK",
                measured=fmt.percent(share),
                detail=f"{fmt.count(not_ok)} of {fmt.count(len(good))} good parts",
                state="kept" if share <= wish else "unclear",
                judgement="Kept on these parts." if share <= wish else "More than that on these parts.",
            )
        )
    return tuple(found)


def _judge(measured: Metric, *, alpha: float, bound: float | None) -> tuple[str, str]:
    """Say whether a measured false-alarm rate agrees with the wish, its interval taken into account."""
    if measured.value is None:
        return "unknown", f"Not known: {measured.reason}"
    if measured.value <= alpha:
        return "kept", "Kept on these parts."
    if bound is not None and measured.value <= bound:
        return "kept", f"Above it, within this bundle's bound of {fmt.percent(bound)}."
    if measured.low is not None and measured.low > max(alpha, bound or 0.0):
        return (
            "broken",
            "Above it, and the interval lies above it too: these good parts are not like those taught.",
        )
    return "unclear", "Above it, but chance alone can explain that with so few parts."


def metric_groups(report: Report) -> tuple[tuple[str, tuple[Figure, ...]], ...]:
    """Return the tables of metrics with their titles; groups without metrics are left out."""
    return tuple(
        (
            GROUP_TITLES.get(group, group.replace("_", " ").capitalize()),
            tuple(_figure(group, name, metric) for name, metric in metrics.items()),
        )
        for group, metrics in report.metrics.items()
        if metrics
    )


def confusion(report: Report) -> tuple[ConfusionRow, ...]:
    """Return the confusion matrix's rows, good parts first."""
    rows = []
    for label, counts in sorted(report.confusion.items(), key=lambda item: (item[0] != GOOD, item[0])):
        total = sum(counts.values())
        cells = tuple(
            (key, counts.get(key, 0), counts.get(key, 0) / total if total else 0.0) for key in WORDS
        )
        rows.append(ConfusionRow(label, cells, total))
    return tuple(rows)


def classes(report: Report) -> tuple[ConfusionRow, ...]:
    """Return, for each label, how often each class was the most likely; good parts first."""
    rows = []
    for label, counts in report.class_confusion.items():
        total = sum(counts.values())
        cells = tuple((name, n, n / total if total else 0.0) for name, n in counts.items())
        rows.append(ConfusionRow(label, cells, total))
    return tuple(rows)


def defects(report: Report) -> Defects:
    """Return the table of defects over every metric that any defect has."""
    return _by_name(report.per_defect)


def products(report: Report) -> Defects:
    """Return the table of products over every metric that any product has."""
    return _by_name(report.per_product)


def _by_name(groups: Mapping[str, Mapping[str, Metric]]) -> Defects:
    names = list(dict.fromkeys(name for metrics in groups.values() for name in metrics))
    rows = tuple(
        (
            group or "unnamed",
            tuple(_figure("", name, metrics[name]) if name in metrics else None for name in names),
        )
        for group, metrics in groups.items()
    )
    return Defects(tuple((words("", name).title, words("", name).meaning) for name in names), rows)


def picture_groups(
    groups: Mapping[Kind, Sequence[Picture]], report: Report
) -> tuple[tuple[str, str, str, tuple[Card, ...]], ...]:
    """Return anchor, title, meaning and cards of each group of pictures."""
    return tuple(
        (
            kind.name.lower().replace("_", "-"),
            *KIND_WORDS[kind],
            tuple(_card(one, report) for one in pictures),
        )
        for kind, pictures in groups.items()
    )


def not_judged(report: Report) -> tuple[tuple[tuple[str, str, str], ...], int]:
    """Return path, code and reason of the first 200 images that could not be judged, and how many more."""
    rows = [
        (one.inspection.path, one.inspection.error.code, one.inspection.error.message)
        for one in report.judged
        if one.inspection.error is not None
    ]
    return tuple(rows[:NOT_JUDGED_ROWS]), max(len(rows) - NOT_JUDGED_ROWS, 0)


def costs(report: Report) -> tuple[tuple[str, str], ...]:
    """Return size, memory and the machine they were measured on."""
    memory = report.peak_memory_mb
    rows = [
        ("Size of the bundle", fmt.size(report.size_bytes)),
        (
            "Peak memory",
            f"{memory:.0f}{fmt.NBSP}MB" if memory is not None else "not known: it was not measured",
        ),
    ]
    return (*rows, *((name.replace("_", " ").capitalize(), value) for name, value in report.machine.items()))


def traces(report: Report) -> tuple[tuple[str, str], ...]:
    """Return the digests and times by which the report can be traced."""
    rows = (
        ("Bundle", report.bundle_id),
        ("Split", report.split_digest),
        ("Split of the calibration", report.calibration.split_digest),
        ("Made", fmt.moment(report.created) if report.created else ""),
    )
    return tuple((name, value or "not recorded") for name, value in rows)


def flat(settings: Mapping[str, Any], *, prefix: str = "") -> tuple[tuple[str, str], ...]:
    """Return nested settings as `a.b` and text."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += flat(value, prefix=f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", _setting(value)))
    return tuple(rows)


def mode_words(report: Report) -> str:
    """Name what the limits rest on."""
    if report.calibration.limit_ng is not None or report.calibration.limit_review is not None:
        return "Estimate: the limits were moved by hand or by cost"
    return "Promise" if report.promise.mode is CalibrationMode.SPLIT else "Estimate by folds"


def _card(picture: Picture, report: Report) -> Card:
    found, sample = picture.judged.inspection, picture.judged.sample
    key = NOT_JUDGED if found.verdict is None else found.verdict.value
    facts = []
    if found.score is not None:
        facts.append(("Score", fmt.score(found.score)))
    if found.p_value is not None:
        facts.append(("p", fmt.p_value(found.p_value)))
    if found.regions:
        number = len(found.regions)
        area = sum(region.area_px for region in found.regions)
        facts.append(("Regions", f"{number} ({fmt.count(area)}{fmt.NBSP}px)"))
    if found.probabilities:
        name = max(found.probabilities, key=lambda label: found.probabilities[label])  # type: ignore[index]
        facts.append(("Most likely", f"{name} {fmt.percent(found.probabilities[name])}"))
    return Card(
        picture=picture,
        key=key,
        word=WORDS[key],
        label=sample.label if sample.label is not None else "not labelled",
        title=found.path or sample.path,
        facts=tuple(facts),
        peak=_peak(picture.judged, report.thresholds.pixel),
    )


def _peak(judged: Judged, pixel_limit: float) -> float | None:
    """Return the map's peak in pixel thresholds; None where it is unknown or the threshold not positive."""
    found = judged.inspection
    if found.map is not None and found.map.size:
        peak = float(found.map.max())
    elif found.regions:
        peak = max(region.peak for region in found.regions)
    else:
        return None
    return peak / pixel_limit if pixel_limit > 0 else None


def _figure(group: str, name: str, metric: Metric) -> Figure:
    known = words(group, name)
    extent = None
    if metric.value is not None and 0 <= metric.value <= 1:
        low = metric.value if metric.low is None else metric.low
        high = metric.value if metric.high is None else metric.high
        extent = (max(low, 0.0), metric.value, min(high, 1.0))
    return Figure(
        title=known.title,
        meaning=known.meaning,
        value=fmt.value(metric, known.formatter),
        interval=fmt.interval(metric, known.formatter),
        n=metric.n,
        reason=metric.reason if metric.value is None else "",
        extent=extent,
    )


def _verdict_figure(report: Report, name: str, *, missing: str) -> Figure:
    metric = report.metrics.get("verdict", {}).get(name)
    return _figure("verdict", name, metric or Metric(None, reason=f"it was not measured on {missing}"))


def _rests_on(metric: Metric) -> str:
    between = fmt.interval(metric, fmt.percent)
    return f"95{fmt.NBSP}% interval {between}, n = {metric.n}" if between else f"n = {metric.n}"


def _setting(value: Any) -> str:
    """Write one setting: numbers without noise, lists with commas, nothing as `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(item) for item in value)
    return str(value)


def _times(judged: Sequence[Judged], key: str) -> int:
    return sum(
        key == (NOT_JUDGED if one.inspection.verdict is None else one.inspection.verdict.value)
        for one in judged
    )
