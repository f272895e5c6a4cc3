"""`flawscope drift`: has the scene changed since the calibration, or are there only more defects?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, Model, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError

if TYPE_CHECKING:
    from flawscope.decision.drift import Watch
    from flawscope.flows.drift import Watched

FOUND = 10  # what --fail-on asked about


class FailOn(StrEnum):
    """Which alarms set the exit code."""

    DRIFT = "drift"
    ANY = "any"


def drift(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Images and folders of them, or one .jsonl of inspect --json.", show_default=False
        ),
    ],
    model: Model,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Go on from this file, and keep the state there."),
    ] = None,
    run_length: Annotated[
        int,
        typer.Option("--run-length", min=100, help="Parts between two false alarms, on average at least."),
    ] = 400_000,
    product: Annotated[
        str, typer.Option("--product", help="Whose calibration counts, where the bundle has several.")
    ] = "",
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit code 10 where drift (any: or many odd parts) is noticed."),
    ] = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Watch parts in the order in which they came: light, colour, focus, position, layout, scores."""
    from flawscope.core.files import write_text
    from flawscope.flows.drift import begin, resume, state_of
    from flawscope.runtime.inspector import Inspector

    records = [path for path in paths if path.suffix == ".jsonl"]
    if records and len(paths) > 1:
        raise UsageError("Records are watched alone", expected="one .jsonl, or images and folders")
    inspector = Inspector.open(model, threads=threads, product=product)
    bundle = inspector.bundle
    watch = (
        begin(bundle, product=product, run_length=run_length)
        if state is None
        else resume(bundle, state, product=product, run_length=run_length)
    )
    alone: list[Watched] = []
    not_judged = 0
    for one in _taken(inspector, watch, records[0] if records else None, paths):
        alone += [one] if one.unlike else []
        not_judged += one.score is None
    if state is not None:
        write_text(state, json.dumps(state_of(bundle, watch)) + "\n")
    if as_json:
        words.say_json(
            {
                "bundle_id": bundle.id,
                "sentence": watch.sentence(),
                "parts": watch.parts,
                "run_length": watch.run_length,
                "alarms": [alarm.to_json() for alarm in watch.alarms],
                "effects": [effect.to_json() for effect in watch.effects()],
                "unlike": [
                    {"name": one.name, "effects": [effect.to_json() for effect in one.unlike]}
                    for one in alone
                ],
                "not_judged": not_judged,
            }
        )
    else:
        tell(watch, alone, not_judged=not_judged, has_scene=bundle.contents.scenery is not None)
    drifted = [alarm for alarm in watch.open_alarms() if alarm.is_drift]
    if (fail_on is FailOn.DRIFT and drifted) or (fail_on is FailOn.ANY and watch.open_alarms()):
        raise typer.Exit(FOUND)


def _taken(inspector: object, watch: Watch, records: Path | None, paths: list[Path]) -> Iterator[Watched]:
    from flawscope.flows.drift import watch_paths, watch_records
    from flawscope.flows.listing import found_in
    from flawscope.runtime.inspector import Inspector

    assert isinstance(inspector, Inspector)
    if records is not None:
        yield from watch_records(inspector.bundle, watch, records)
        return
    files = found_in(paths)
    with progress() as listener, listener.stage("Watching", len(files)) as stage:
        for one in watch_paths(inspector, watch, [str(file.path) for file in files]):
            stage.advance()
            yield one


def tell(watch: Watch, alone: list[Watched], *, not_judged: int, has_scene: bool) -> None:
    """Print the sentence, the alarms, what the latest parts look like, and single photographs that are
    unlike all that calibrated."""
    words.sentence(watch.sentence())
    for alarm in watch.alarms:
        name = "drift" if alarm.is_drift else "no drift"
        words.say(f"  {alarm.kind:<9} {name:<9} {alarm.words}, noticed at part {alarm.first}")
    if shown := watch.effects():
        words.say("The latest parts against the calibration")
        for effect in shown:
            words.say(f"  {effect.words}")
    for one in alone[:5]:
        words.say(f"  {one.name}: {'; '.join(effect.words for effect in one.unlike)}")
    if len(alone) > 5:
        words.say(f"  ... and {len(alone) - 5} more photographs unlike all that calibrated")
    if not has_scene:
        words.remark("Note: this bundle knows nothing of light and framing; scores alone are watched.")
    if not_judged:
        words.remark(f"Note: {words.counted(not_judged, 'part')} had no score.")
