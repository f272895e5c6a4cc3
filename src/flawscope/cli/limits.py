"""`flawscope limits`: what a bundle's limits do, and a version of the bundle with other ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, GroupBy, Layout, Model, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError

if TYPE_CHECKING:
    from flawscope.core.types import Metric
    from flawscope.decision.moving import Place
    from flawscope.flows.relimit import Relimited

_SHOWN = 10  # parts that change sides


def limits(
    model: Model,
    ng: Annotated[float | None, typer.Option("--ng", help="The NG limit, a score.")] = None,
    review: Annotated[float | None, typer.Option("--review", help="The REVIEW limit, a score.")] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Share of good parts that may be called NG.")
    ] = None,
    review_alpha: Annotated[
        float | None, typer.Option("--review-alpha", help="Share of good parts that may be not OK.")
    ] = None,
    cost_escape: Annotated[
        float, typer.Option("--cost-escape", min=0, help="What a missed defect costs, in any unit.")
    ] = 0.0,
    cost_overkill: Annotated[
        float, typer.Option("--cost-overkill", min=0, help="What a good part called NG costs.")
    ] = 0.0,
    bad_share: Annotated[
        float | None, typer.Option("--bad-share", help="Share of bad parts on the line, for the costs.")
    ] = None,
    by_rank: Annotated[
        bool, typer.Option("--by-rank", help="Take back what was moved: limits by the ranks again.")
    ] = False,
    reviewed: Annotated[
        Path | None,
        typer.Option("--reviewed", help="Labelled photographs that people have judged, never the test part."),
    ] = None,
    who: Annotated[str, typer.Option("--who", help="Who moves the limits.")] = "",
    why: Annotated[str, typer.Option("--why", help="Why.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The new version of the bundle, a .flaw file.")
    ] = None,
    product: Annotated[
        str, typer.Option("--product", help="Whose limits, where the bundle has some of its own for it.")
    ] = "",
    layout: Layout = None,
    group_by: GroupBy = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Say what a bundle's limits do; with --out, move them and say who did and why."""
    from flawscope.flows.relimit import Move, judge_reviewed, now_at, relimit
    from flawscope.runtime.inspector import Inspector

    move = Move(
        who, why, ng, review, alpha, review_alpha, cost_escape, cost_overkill, bad_share, by_rank, product
    )
    moving = any(
        value not in (None, 0.0, False)
        for value in (ng, review, alpha, review_alpha, cost_escape, cost_overkill, by_rank)
    )
    if moving != (out is not None):
        raise UsageError(
            "Limits are moved into a new version of the bundle" if moving else "Nothing is moved",
            expected="--out NEW.flaw together with --ng, --review, --alpha, costs or --by-rank",
        )
    inspector = Inspector.open(model, threads=threads, product=product)
    judged = None
    if reviewed is not None:
        with progress() as listener:
            judged, remarks = judge_reviewed(
                inspector, reviewed, layout=layout or "", group_by=group_by or "", progress=listener
            )
        words.remarks(remarks, what="Note")
    if out is None:
        place = now_at(inspector.bundle, product=product, reviewed=judged)
        if as_json:
            words.say_json({"bundle_id": inspector.bundle.id, "now": place.to_json()})
        else:
            tell_place(place)
            words.say(
                f"Next: flawscope limits --model {words.quoted(model)} --ng SCORE --who NAME --why TEXT "
                "--out NEW.flaw"
            )
        return
    found = relimit(
        inspector.bundle,
        move,
        out,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        reviewed=judged,
    )
    if as_json:
        words.say_json(as_values(found))
    else:
        tell(found)


def as_values(found: Relimited) -> dict[str, Any]:
    """Return what moving limits did as JSON."""
    return {
        "bundle": str(found.bundle.path),
        "bundle_id": found.bundle.id,
        "parent": found.bundle.contents.parent,
        "before": found.before.to_json(),
        "after": found.after.to_json(),
        "turned": [one.to_json() for one in found.turned],
        "choice": found.words,
        "warnings": list(found.warnings),
    }


def tell(found: Relimited) -> None:
    """Print what the limits did and do now, and which parts change sides."""
    words.remarks(found.warnings, what="Note")
    words.say("Before")
    tell_place(found.before, said=False)
    words.say("Now")
    tell_place(found.after)
    if found.words:
        words.sentence(found.words)
    if found.turned:
        words.say(f"{words.counted(len(found.turned), 'reviewed part')} change sides:")
        for one in found.turned[:_SHOWN]:
            words.say(f"  {one.before.value} to {one.after.value}   {one.sample_id} ({one.label})")
    words.say(f"{found.bundle.path}   made from {found.bundle.contents.parent}")
    words.say(f"Next: flawscope evaluate --model {words.quoted(found.bundle.path)} --data TEST_PHOTOGRAPHS")


def tell_place(place: Place, *, said: bool = True) -> None:
    """Print two limits with their shares and, where asked for, what is promised there."""
    rows = [("", "limit", "share", "95 % interval", "parts", "")]
    for name, limit, metric in (
        ("good parts called NG", place.ng, place.false_alarms),
        ("good parts not OK", place.review, place.not_ok),
        ("reviewed bad parts called OK", place.review, place.missed),
        ("reviewed bad parts not NG", place.ng, place.not_ng),
        ("reviewed good parts called NG", place.ng, place.reviewed_alarms),
    ):
        rows.append((name, "none" if limit is None else f"{limit:.4g}", *_cells(metric)))
    words.say(words.columns(rows, right=frozenset({1, 2, 4})))
    if said:
        for sentence in place.sentences:
            words.sentence(sentence, indent=2)


def _cells(metric: Metric) -> tuple[str, str, str, str]:
    from flawscope.report import format as fmt

    return (
        words.plain(fmt.value(metric, fmt.percent)),
        words.plain(fmt.interval(metric, fmt.percent)),
        str(metric.n),
        metric.reason,
    )
