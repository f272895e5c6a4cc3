"""`flawscope annotate`: labels for supervised models, from what an unsupervised one sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.inspect import SOME_NOT_JUDGED
from flawscope.cli.options import AsJson, Model, Threads
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError

if TYPE_CHECKING:
    from flawscope.flows.annotate import Summary

_SHOWN = 3  # photographs not judged that are named


def annotate(
    data: Annotated[
        Path, typer.Argument(help="Folder of photographs, or a list or manifest.", show_default=False)
    ],
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the annotations; new or empty.")],
    formats: Annotated[
        str, typer.Option("--format", metavar="NAMES", help="Any of coco, yolo, voc, png, by commas.")
    ] = "coco,yolo,voc,png",
    refine: Annotated[
        str,
        typer.Option("--refine", metavar="none|grabcut|walker", help="Draw marks after the photograph."),
    ] = "grabcut",
    reach: Annotated[
        str,
        typer.Option("--reach", metavar="pixel|peak|rise", help="How far down the heat map a mark reaches."),
    ] = "rise",
    share: Annotated[
        float | None, typer.Option("--share", metavar="X", help="Of --reach; otherwise the rule's own.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="What the defect is called.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Mark parts that are OK too, where the map is over its limit.")
    ] = False,
    ok_as_good: Annotated[
        bool, typer.Option("--ok-as-good", help="List parts that are OK too, without marks: as good.")
    ] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the photographs beside their annotations.")
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write each marked photograph with heat map and outlines.")
    ] = False,
    role: Annotated[
        str | None,
        typer.Option("--role", help="Only photographs of this role in a list; otherwise all but test."),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option("--product", help="Whose limits count, where the bundle serves several products."),
    ] = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Mark what is odd on photographs: masks and boxes to correct, and to teach supervised models with.

    Exit code 3 where some could not be judged.
    """
    from flawscope.core.types import Role
    from flawscope.flows.annotate import annotate as work
    from flawscope.flows.marking import AnnotateSettings
    from flawscope.imaging.marking import Reach
    from flawscope.imaging.refine import Refine
    from flawscope.runtime.inspector import Inspector

    settings = AnnotateSettings(
        formats=tuple(name.strip() for name in formats.split(",") if name.strip()),
        refine=Refine(_one_of(refine, [kind.value for kind in Refine], "--refine")),
        reach=Reach(_one_of(reach, [kind.value for kind in Reach], "--reach")),
        share=share,
        label=label,
        everything=everything,
        ok_as_good=ok_as_good,
        copy=copy,
        overlays=overlays,
        role=None if role is None else Role(_one_of(role, [kind.value for kind in Role], "--role")),
    )
    with progress() as listener:
        inspector = Inspector.open(model, threads=threads, product=product or "")
        summary = work(inspector, data, out, settings, progress=listener)
    if as_json:
        words.say_json(summary.to_json())
    else:
        tell(summary)
    if summary.not_judged:
        raise typer.Exit(SOME_NOT_JUDGED)


def tell(summary: Summary) -> None:
    """Print how many photographs and places there are, by label, what was not judged, and what to do next."""
    if summary.resumed:
        words.say(f"Taken up again: {words.counted(summary.resumed, 'photograph')} were done before.")
    verdicts = ", ".join(f"{count} {name}" for name, count in summary.verdicts.items())
    judged = f"{words.counted(summary.photographs, 'photograph')}: {verdicts}"
    missing = f", {len(summary.not_judged)} not judged" if summary.not_judged else ""
    words.say(f"{judged}{missing}")
    if summary.left_out:
        words.say(f"{summary.left_out} of other roles were left out.")
    for _, fault in summary.not_judged[:_SHOWN]:
        words.say(f"  {words.NOT_JUDGED}  {fault.message}")
    if len(summary.not_judged) > _SHOWN:
        words.say(f"  ... and {len(summary.not_judged) - _SHOWN} more; {summary.folder / 'annotate.json'}")
    if summary.labels:
        rows = [("", "photographs", "places")]
        rows += [(label, str(counts[0]), str(counts[1])) for label, counts in sorted(summary.labels.items())]
        words.say(words.columns(rows, right=frozenset({1, 2})))
    if summary.refined:
        words.say(
            f"{summary.refined} of {words.counted(summary.places, 'place')} drawn after the photograph."
        )
    for name, place in summary.written.items():
        words.say(f"{name:<5} {place}")
    if not summary.places:
        words.say("Next: nothing is marked; --all also marks parts that are OK.")
        return
    first = next(iter(summary.written.values()))
    words.say("These are suggestions: look through them in CVAT, Label Studio or another labelling tool.")
    words.say(f"Next: correct them, then flawscope data {words.quoted(first)}")


def _one_of(given: str, known: list[str], option: str) -> str:
    if given.lower() not in known:
        raise UsageError(f"{option} {given} does not fit", expected="one of " + ", ".join(known))
    return given.lower()
