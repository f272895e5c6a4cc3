"""`flawscope teach`: further good parts into a bundle, without the photographs that it was taught first."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, GroupBy, Layout, Model, Threads, WeightsDir
from flawscope.cli.progress import progress

if TYPE_CHECKING:
    from flawscope.flows.side_by_side import BeforeAfter
    from flawscope.flows.teach import Taught


def teach(
    model: Model,
    add: Annotated[Path, typer.Option("--add", help="Good parts to teach, such as reviewed ones.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new bundle, a .flaw file.")],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Good parts to calibrate with: those from before, and new ones drawn at random.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="Says where the parts are that calibrated; else the bundle's."),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option("--test", help="Compare before and after on the test part of this folder."),
    ] = None,
    who: Annotated[str, typer.Option("--who", help="Who teaches, for the record.")] = "",
    backbone: Annotated[
        str, typer.Option("--backbone", help="What the bundle sees with, where its name does not find it.")
    ] = "",
    weights_dir: WeightsDir = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a bundle further good parts: patchcore, padim or dfm."""
    from flawscope.flows.evaluate import EvaluateSettings
    from flawscope.flows.side_by_side import before_after
    from flawscope.flows.teach import teach as _teach
    from flawscope.flows.teach_samples import TeachSettings
    from flawscope.runtime.inspector import Inspector

    settings = TeachSettings(
        add, calibrate, manifest, layout or "", group_by or "", backbone, weights_dir, who
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    compared = None
    with progress() as listener:
        taught = _teach(model, settings, out, at=at, threads=threads, progress=listener)
        if test is not None:
            compared = before_after(
                Inspector.open(model, threads=threads),
                Inspector.open(out, threads=threads),
                EvaluateSettings(data=test, manifest=manifest, pixels=False),
                progress=listener,
            )
    if as_json:
        words.say_json(as_values(taught, compared))
    else:
        tell(taught, compared)


def as_values(taught: Taught, compared: BeforeAfter | None) -> dict[str, Any]:
    """Return what teaching left as JSON."""
    return {
        "bundle": str(taught.bundle.path),
        "bundle_id": taught.bundle.id,
        "parent": taught.parent,
        "added": taught.added,
        "calibrated": taught.calibrated,
        "promise": taught.promise.to_json(),
        "size_bytes": taught.bundle.size_bytes,
        "seconds": {name: round(value, 3) for name, value in taught.seconds.items()},
        "compared": None if compared is None else compared.to_json(),
        "warnings": list(taught.warnings),
    }


def tell(taught: Taught, compared: BeforeAfter | None) -> None:
    """Print what was taught, what is promised now and, where it was asked for, what it does on the test."""
    words.remarks(taught.warnings, what="Note")
    scored = (
        f"{words.counted(taught.calibrated, 'photograph')} scored anew to calibrate"
        if taught.calibrated
        else "the ranks are those from before"
    )
    words.sentence(f"{words.counted(taught.added, 'photograph')} taught, {scored}.")
    for sentence in taught.promise.sentences:
        words.sentence(sentence)
    if compared is not None:
        for sentence in compared.words:
            words.sentence(sentence)
    seconds = taught.seconds
    words.say(f"Taught in {seconds['teach']:.1f} s, calibrated in {seconds['calibrate']:.1f} s.")
    words.say(f"{taught.bundle.path}   made from {taught.parent}")
    words.say(f"Next: flawscope inspect --model {words.quoted(taught.bundle.path)} NEW_IMAGES")
