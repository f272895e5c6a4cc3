"""`flawscope risk`: how bad parts are, what to look at first, and what the risks say together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, GroupBy, Layout, Model, Product, TestData, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import ImageError, UsageError

if TYPE_CHECKING:
    from flawscope.decision.rated import Comparison, RatedSample, RiskReport

FOLDER = "risk"  # beside the bundle
_LISTED = 5  # of the work list


def risk(
    model: Model,
    data: TestData,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the report goes; otherwise `risk` beside the bundle."),
    ] = None,
    roles: Annotated[
        str, typer.Option("--roles", help="What is rated: some of fit, select, calibrate, test.")
    ] = "test",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=0.999, help="Weight over which qrs counts a place.")
    ] = 0.9,
    coords: Annotated[
        Path | None,
        typer.Option("--coords", help="Where the product lies in each image, as flawscope data writes it."),
    ] = None,
    zones: Annotated[
        Path | None,
        typer.Option("--zones", help="Critical places of the product: an image or boxes with weights."),
    ] = None,
    region: Annotated[
        str, typer.Option("--region", help="Without --coords: the whole picture, or its foreground.")
    ] = "picture",
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Says which image has which role; else the bundle's.")
    ] = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    product: Product = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Rate how bad parts are, and say what to look at first.

    Exit code 3 where files could not be judged; 4 where the bundle has seen a test part.
    """
    from flawscope.flows import api
    from flawscope.flows.risk import roles_of

    place = out or model.parent / FOLDER
    if place.resolve() == model.parent.resolve():
        raise UsageError(
            f"--out {place} is the folder of the bundle", remedy="Choose another: its report would be lost"
        )
    settings: dict[str, Any] = {
        "roles": list(roles_of(roles)),
        "threshold": threshold,
        "coords": None if coords is None else str(coords),
        "zones": None if zones is None else str(zones),
        "region": region,
        "manifest": None if manifest is None else str(manifest),
        "layout": layout or "",
        "group_by": group_by or "",
        "product": product or "",
    }
    with progress() as listener:
        report = api.risk(model, data, out=place, settings=settings, threads=threads, progress=listener)
    if as_json:
        values = report.to_json()
        del values["samples"]
        words.say_json(values | {"report": str(place / "risk.html")})
    else:
        tell(report, place, data=data)
    if any(one.risk is None for one in report.rated):
        raise typer.Exit(ImageError.exit_code)


def tell(report: RiskReport, place: Path, *, data: Path) -> None:
    """Print the bands, the head of the work list, and how well the risk tells defective parts apart."""
    words.remarks(report.warnings, what="Note")
    counts = report.bands()
    named = ", ".join(f"{count} {band.value}" for band, count in counts.items() if count)
    words.say(f"{data}: {words.counted(len(report.rated), 'photograph')} rated: {named or 'none'}.")
    missing = [one for one in report.rated if one.risk is None]
    for one in missing[:3]:
        assert one.rated.inspection.error is not None
        words.say(f"  {words.NOT_JUDGED}  {one.rated.inspection.error.message}")
    ranked = report.ranked()
    if ranked:
        words.say()
        words.say("Look at these first")
        head = ("", "risk", "95 % interval", "band", "verdict", "label")
        words.say(words.columns([head, *(_row(one) for one in ranked[:_LISTED])], right=frozenset({1})))
    words.say()
    words.say("Defective against good")
    analysis = report.analysis
    head_row = ("", "AUROC", "95 % interval", "p (Welch)", "p (Mann-Whitney)", "Hedges' g")
    table = [head_row, _compared("risk", analysis.risk), _compared("qrs as published", analysis.qrs)]
    words.say(words.columns(table, right=frozenset({1, 3, 4, 5})))
    if reason := analysis.risk.auroc.reason:
        words.sentence(f"Not known: {reason}.", indent=2)
    for note in analysis.notes:
        words.sentence(note, indent=2)
    words.say()
    words.say(f"{place / 'risk.html'}   risk.xlsx, risk.csv and risk.json beside it")
    words.say("Next: open that page; it begins with the parts to look at first.")


def _row(one: RatedSample) -> tuple[str, ...]:
    rating, found = one.rated.rating, one.rated.inspection
    assert rating is not None and one.rated.band is not None and found.verdict is not None
    between = "" if rating.low is None else f"{rating.low:.1f} to {rating.high:.1f}"
    label = "no label" if one.sample.label is None else one.sample.label
    return one.sample.id, f"{rating.risk:.1f}", between, one.rated.band.value, found.verdict.value, label


def _compared(name: str, one: Comparison) -> tuple[str, ...]:
    from flawscope.report import format as fmt

    return (
        name,
        words.plain(fmt.value(one.auroc, fmt.ratio)),
        words.plain(fmt.interval(one.auroc, fmt.ratio)),
        "not known" if one.welch.p is None else fmt.p_value(one.welch.p),
        "not known" if one.mann_whitney.p is None else fmt.p_value(one.mann_whitney.p),
        words.plain(fmt.value(one.hedges_g, lambda value: f"{value:.2f}")),
    )
