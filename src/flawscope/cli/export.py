"""`flawscope export`: the graph for other programs, proven to give the same verdicts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, Model, Threads
from flawscope.cli.progress import progress
from flawscope.flows.listing import found_in


class Target(StrEnum):
    """What is written."""

    ONNX = "onnx"
    OPENVINO = "openvino"


def export(
    model: Model,
    to: Annotated[Target, typer.Option("--to", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into.")],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Photographs to prove parity on; otherwise the golden sample's kin."),
    ] = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Write a bundle's graph as plain ONNX or OpenVINO IR, with its parity proven.

    Refused, with nothing written, where a score moves or a verdict flips.
    """
    from flawscope.flows.export import TOLERANCE
    from flawscope.flows.export import export as run_export

    paths = [] if images is None else [str(file.path) for file in found_in([images])]
    with progress() as listener:
        done = run_export(model, out, target=to.value, images=paths, threads=threads, progress=listener)
    if as_json:
        words.say_json({"files": [str(path) for path in done.files], "parity": done.parity.to_json()})
        return
    parity = done.parity
    words.remarks(parity.unread, what="Left out")
    for path in done.files:
        words.say(str(path))
    words.sentence(
        f"Parity on {parity.source}: no verdict flipped, and no score differs by more than "
        f"{parity.largest_difference:.1g} of the calibration's interquartile range ({TOLERANCE:g} allowed)."
    )
    if images is None:
        words.say("Prove it on your own photographs with --images DIR.")
    words.say("Next: examples/run_bundle.py shows a graph run without flawscope.")
