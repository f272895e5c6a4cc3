"""`flawscope demo`: from nothing to a tested bundle and its page, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, Threads
from flawscope.cli.progress import progress

if TYPE_CHECKING:
    from flawscope.flows.demo import Demo


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where everything goes; an earlier demo there is replaced.")
    ] = Path("flawscope-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Of the drawn chips and of teaching.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds other things, beside them.")
    ] = False,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Draw chips, teach, test and report: everything once, in a minute."""
    from flawscope.flows.demo import run_demo

    with progress() as listener:
        result = run_demo(out, seed=seed, threads=threads, force=force, progress=listener)
    if as_json:
        words.say_json(as_values(result))
    else:
        tell(result)


def as_values(result: Demo) -> dict[str, Any]:
    """Return the demo's outcome as JSON."""
    values = result.report.to_json()
    return {
        "folder": str(result.folder),
        "bundle": str(result.trained.bundle.path),
        "report": str(result.page),
        "metrics": values["metrics"],
        "per_defect": values["per_defect"],
        "confusion": values["confusion"],
        "drawn": {
            name: {"contrast": list(kind.contrast), "area_share": list(kind.area_share)}
            for name, kind in result.drawn.items()
        },
        "promise": values["promise"],
        "seconds": {name: round(value, 2) for name, value in result.seconds.items()},
    }


def tell(result: Demo) -> None:
    """Print what came out, what it means, and how to go on."""
    from flawscope.cli.evaluate import defect_rows, delivered, metric_row
    from flawscope.cli.train import taught_from
    from flawscope.report.metric_words import GROUPS

    report = result.report
    words.sentence(f"Drawn chips: {taught_from(result.trained)}. None of the test was seen in teaching.")
    auroc = metric_row(GROUPS["image"]["auroc"], report.metrics["image"]["auroc"])
    words.say(
        f"AUROC {auroc[1]} (95 % interval {auroc[2]}, {auroc[3]} images): 0.5 is guessing, 1 is perfect."
    )
    words.say()
    rows = []
    for i, row in enumerate(defect_rows(report)):
        kind = result.drawn.get(row[0])
        drawn = ("contrast, grey levels", "area, % of the picture") if i == 0 else ("", "")
        if kind is not None:
            drawn = (_spread(kind.contrast, ".0f"), _spread([100 * x for x in kind.area_share], ".2f"))
        rows.append((*row, *drawn))
    words.say(words.columns(rows, right=frozenset({1, 2, 3, 4, 5})))
    words.say("  (contrast and area as drawn: median, least to greatest)")
    words.say()
    for sentence in (*report.promise.sentences[:2], *delivered(report)):
        words.sentence(sentence)
    seconds = result.seconds
    stages = ", ".join(f"{name} {seconds[name]:.1f} s" for name in ("draw", "teach", "calibrate", "evaluate"))
    words.say(f"{seconds['total']:.0f} s in all: {stages}.")
    words.say()
    words.say(f"Open {result.page} to see every number and its pictures.")
    model = words.quoted(result.trained.bundle.path)
    chips = words.quoted(result.folder / "chips" / "test")
    words.say(f"Next: flawscope inspect --model {model} {chips}")
    words.say("Next: flawscope train --data YOUR_PHOTOGRAPHS")


def _spread(values: Any, form: str) -> str:
    middle, low, high = (format(value, form) for value in values)
    return f"{middle} ({low} to {high})"
