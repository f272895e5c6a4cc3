"""`flawscope evaluate`: what a bundle does on parts it has not seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, GroupBy, Layout, Model, Product, TestData, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError

if TYPE_CHECKING:
    from flawscope.core.types import Metric, Report
    from flawscope.report.metric_words import MetricWords

FOLDER = "evaluation"  # beside the bundle
_ORDER = ["verdict", "image", "probability", "class", "pixel"]  # right verdicts before high scores


def evaluate(
    model: Model,
    data: TestData,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the report goes; otherwise `evaluation` beside the bundle."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="Says which images of a mixed folder are the test; else the bundle's."
        ),
    ] = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    product: Product = None,
    mask_above: Annotated[
        int | None, typer.Option("--mask-above", help="Grey value over which a mask means defect.")
    ] = None,
    no_pixels: Annotated[
        bool, typer.Option("--no-pixels", help="Leave out how well places are found; faster.")
    ] = False,
    samples: Annotated[
        bool, typer.Option("--samples", help="With --json: every image's verdict as well.")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Judge test photographs and measure verdicts, ranking and places."""
    from flawscope.flows import api

    place = out or model.parent / FOLDER
    if place.resolve() == model.parent.resolve():
        raise UsageError(
            f"--out {place} is the folder of the bundle", remedy="Choose another: its report would be lost"
        )
    settings: dict[str, Any] = {
        "manifest": None if manifest is None else str(manifest),
        "layout": layout or "",
        "group_by": group_by or "",
        "product": product or "",
        "mask_above": mask_above,
        "pixels": not no_pixels,
    }
    with progress() as listener:
        report = api.evaluate(model, data, out=place, settings=settings, threads=threads, progress=listener)
    if as_json:
        values = report.to_json()
        values["report"] = str(place / "report.html")
        if not samples:
            del values["samples"]
        words.say_json(values)
        return
    tell(report, place / "report.html", data=data)


def tell(report: Report, page: Path, *, data: Path) -> None:
    """Print the report's numbers with their intervals, what was promised, and the page's path."""
    from flawscope.report import format as fmt
    from flawscope.report.metric_words import GROUP_TITLES, GROUPS

    words.remarks(report.warnings, what="Note")
    words.say(f"{data}: {_tested(report)}.")
    faults = [judged for judged in report.judged if judged.inspection.error is not None]
    for judged in faults[:3]:
        assert judged.inspection.error is not None
        words.say(f"  {words.NOT_JUDGED}  {judged.inspection.error.message}")
    for group in sorted(report.metrics, key=_ORDER.index):
        metrics = report.metrics[group]
        words.say()
        words.say(f"{GROUP_TITLES[group]}")
        rows = [("", "value", "95 % interval", "n", "")]
        rows += [
            metric_row(GROUPS[group][name], metric)
            for name, metric in metrics.items()
            if name in GROUPS[group]
        ]
        words.say(words.columns(rows, right=frozenset({1, 3})))
    if report.per_defect:
        words.say()
        words.say("By defect")
        words.say(words.columns(defect_rows(report), right=frozenset({1, 2, 3, 4, 5})))
    if report.per_product:
        words.say()
        words.say("By product")
        words.say(words.columns(product_rows(report), right=frozenset({1, 2, 3, 4})))
        if report.worst_product:
            words.say(f"Worst: {report.worst_product}, by AUROC.")
    words.say()
    words.say("Promised and delivered")
    for text in (*report.promise.sentences[:2], *delivered(report)):
        words.sentence(text, indent=2)
    total = report.timings_ms.get("total")
    words.say()
    speed = f"   one verdict {words.plain(fmt.milliseconds(total['p50']))}" if total else ""
    words.say(f"{page}{speed}")
    words.say("Next: open that page; its numbers lead to the pictures behind them.")


def metric_row(meaning: MetricWords, metric: Metric) -> tuple[str, str, str, str, str]:
    """Return a metric's title, value, interval, n, and why there is none."""
    from flawscope.report import format as fmt

    formatter = meaning.formatter
    return (
        meaning.title,
        words.plain(fmt.value(metric, formatter)),
        words.plain(fmt.interval(metric, formatter)),
        str(metric.n),
        metric.reason,
    )


def defect_rows(report: Report) -> list[tuple[str, ...]]:
    """Return one row a defect: how many, how well it ranks, and which verdicts it got."""
    from flawscope.report import format as fmt

    rows: list[tuple[str, ...]] = [("", "n", "AUROC", "NG", "REVIEW", "missed (OK)")]
    for defect, metrics in report.per_defect.items():
        given = report.confusion.get(defect, {})
        auroc = metrics.get("auroc")
        ranked = words.plain(fmt.value(auroc, fmt.ratio)) if auroc is not None else ""
        verdicts = [str(given.get(name, 0)) for name in ("NG", "REVIEW", "OK")]
        rows.append((defect, str(sum(given.values())), ranked, *verdicts))
    return rows


def product_rows(report: Report) -> list[tuple[str, ...]]:
    """Return one row a product: how well it ranks, and how many good and bad parts got the wrong verdict."""
    from flawscope.report import format as fmt

    rows: list[tuple[str, ...]] = [("", "n", "AUROC", "false alarms", "missed (OK)")]
    for product, metrics in report.per_product.items():
        shares = [words.plain(fmt.value(metrics[name], fmt.percent)) for name in ("overkill", "escape")]
        auroc = metrics["auroc"]
        rows.append((product, str(auroc.n), words.plain(fmt.value(auroc, fmt.ratio)), *shares))
    return rows


def delivered(report: Report) -> list[str]:
    """Say what became of the good test parts, beside what was promised."""
    from flawscope.report import format as fmt

    overkill = report.metrics.get("verdict", {}).get("overkill")
    if overkill is None or overkill.value is None:
        return ["Delivered: not known, as there is no good part in the test."]
    good = report.confusion.get("good", {})
    total = sum(good.values())
    odd = good.get("NG", 0) + good.get("REVIEW", 0)
    interval = words.plain(fmt.interval(overkill, fmt.percent))
    lines = [
        f"Delivered: {good.get('NG', 0)} of {total} good test parts called NG "
        f"({words.plain(fmt.percent(overkill.value))}, 95 % interval {interval}), {odd} not OK."
    ]
    if overkill.low is not None and overkill.low > (report.promise.bound or 2 * report.promise.alpha):
        lines.append(
            "That is more than chance explains: these parts are not like those of the calibration "
            "(another lot, light or camera?). Teach from parts like these as well."
        )
    return lines


def _tested(report: Report) -> str:
    labels = Counter(
        "without label" if judged.sample.label is None else "good" if judged.sample.is_good else "defective"
        for judged in report.judged
    )
    named = ", ".join(
        f"{labels[word]} {word}" for word in ("good", "defective", "without label") if labels[word]
    )
    return f"{words.counted(len(report.judged), 'image')} that {report.bundle_name} has not seen: {named}"
