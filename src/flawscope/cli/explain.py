"""`flawscope explain`: why parts are judged as they are, as pictures and as data; and how good that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.inspect import (
    SOME_NOT_JUDGED,
    line,
    overlay_places,
    refuse_overwriting,
)
from flawscope.cli.options import AsJson, GroupBy, Layout, Model, Product, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError
from flawscope.flows.listing import Found, found_in

if TYPE_CHECKING:
    from flawscope.flows.evaluate import EvaluateSettings
    from flawscope.flows.explain import ExplainSettings
    from flawscope.runtime.explain import Explained
    from flawscope.runtime.inspector import Inspector


def explain(
    model: Model,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Images, and folders of them.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write pictures and explain.json (or the table) into this folder."),
    ] = None,
    explainer: Annotated[
        str | None,
        typer.Option("--explainer", "-e", metavar="A,B", help="Which; otherwise the one that suits."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--class", help="The defect to explain; otherwise the likeliest.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Explain parts called OK as well.")] = False,
    no_nearest: Annotated[
        bool, typer.Option("--no-nearest", help="Leave the nearest good patches out; faster.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Measure explainers on the test part of --data.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="With --evaluate: the data set with masks.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="With --evaluate: says which images are the test.")
    ] = None,
    mask_above: Annotated[
        int | None, typer.Option("--mask-above", help="Grey value over which a mask means defect.")
    ] = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    product: Product = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Show why parts are called bad: where, how strongly, and which good part they differ from.

    Parts called OK are explained with --all only. Exit code 3 where some could not be judged.
    """
    from flawscope.flows.explain import ExplainSettings
    from flawscope.runtime.inspector import Inspector

    names = tuple(name.strip() for name in (explainer or "").split(",") if name.strip())
    settings = ExplainSettings(names, target or "", everything, not no_nearest, product or "")
    if evaluate:
        if data is None or paths:
            raise UsageError("--evaluate measures on a data set", expected="--data DIR and no images")
        from flawscope.flows.evaluate import EvaluateSettings

        values = EvaluateSettings(
            data,
            layout=layout or "",
            group_by=group_by or "",
            product=product or "",
            manifest=manifest,
            mask_above=mask_above,
        )
        _measure(model, values, settings, out=out, threads=threads, as_json=as_json)
        return
    if not paths or out is None:
        raise UsageError(
            "There is nothing to explain, or no place for it",
            expected="images, and --out DIR; or --evaluate --data DIR",
        )
    files = found_in(paths, besides=out)
    refuse_overwriting(files, out)
    inspector = Inspector.open(model, threads=threads, product=product or "")
    _explain(inspector, files, settings, out=out, as_json=as_json)


def _explain(
    inspector: Inspector, files: list[Found], settings: ExplainSettings, *, out: Path, as_json: bool
) -> None:
    """Explain files one by one; write pictures and explain.json, print a line each."""
    from flawscope.flows import explain as flow
    from flawscope.imaging.write import write_image

    explainers = flow.Explainers(inspector, settings)
    references = inspector.bundle.contents.references
    places = overlay_places(files, out)
    explained_parts = faults = 0
    with (
        progress(lines_follow=True) as listener,
        flow.explain_file(out / flow.FILE_NAME, inspector.bundle, explainers.names) as add,
        listener.stage("Explaining", len(files)) as stage,
    ):
        found = explainers([str(file.path) for file in files])
        for file, (image, explained) in zip(files, found, strict=True):
            place = None
            if image is not None and explained.explanations:
                place = places[file]
                shown = flow.picture(
                    image, explained.explanations, references, plain_below=explainers.plain_below
                )
                write_image(place, shown)
                explained_parts += 1
            faults += explained.inspection.verdict is None
            written = None if place is None else place.relative_to(out)
            values = flow.as_json(explained, picture_name=written)
            add(values)
            if as_json:
                words.say_json_line(values)
            else:
                _say(explained)
            stage.advance()
    if not as_json:
        _close(len(files), explained_parts, faults, out=out, settings=settings)
    if faults:
        raise typer.Exit(SOME_NOT_JUDGED)


def _say(explained: Explained) -> None:
    words.say(line(explained.inspection))
    for one in explained.explanations:
        for number, sentence in enumerate(one.words):
            words.sentence(f"{one.explainer}: {sentence}" if number == 0 else sentence, indent=12)


def _close(count: int, explained: int, faults: int, *, out: Path, settings: ExplainSettings) -> None:
    pieces = [f"{words.counted(count, 'image')}, {explained} explained"]
    if faults:
        pieces.append(f"{faults} not judged")
    words.say("   ".join(pieces))
    words.say(f"Written: {out / 'explain.json'}" + (" and a picture of each" if explained else ""))
    if not explained and not settings.always:
        words.say("Next: --all explains parts called OK as well.")
    elif explained:
        words.say("Next: flawscope explain --evaluate --data DIR measures which explainer is best.")


def _measure(
    model: Path,
    values: EvaluateSettings,
    settings: ExplainSettings,
    *,
    out: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Measure explainers on test photographs; print the table and write it."""
    from flawscope.flows import explain_evaluate as flow
    from flawscope.runtime.inspector import Inspector

    inspector = Inspector.open(model, threads=threads, product=values.product if settings.product else "")
    with progress() as listener:
        measured = flow.measure(inspector, values, settings, progress=listener)
    written = flow.write_measured(measured, out) if out is not None else ()
    if as_json:
        words.say_json(measured.to_json())
        return
    words.remarks(measured.warnings, what="Note")
    words.say(f"{values.data}: {words.counted(measured.tested, 'image')} that the bundle has not seen.")
    words.say()
    rows = [tuple(words.plain(cell) for cell in row) for row in flow.table(measured)]
    words.say(words.columns(rows, right=frozenset(range(1, len(rows[0])))))
    words.say()
    words.sentence(measured.why)
    words.sentence(f"For deletion and insertion, pixels gave way to {measured.instead}.")
    if written:
        words.say(f"Written: {', '.join(str(place) for place in written)}")
    if measured.best:
        shown = f"--explainer {measured.best} --out DIR"
        words.say(f"Next: flawscope explain --model {words.quoted(model)} IMAGES {shown}")
