"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flawscope.core.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="The bundle, a .flaw file.")]
Threads = Annotated[
    int,
    typer.Option("--threads", min=0, help="Threads of the processor; 0 leaves the choice to onnxruntime."),
]
DataOrConfig = Annotated[
    Path | None, typer.Option("--data", "-d", help="Folder, list or manifest of photographs.")
]
Method = Annotated[
    str | None, typer.Option("--method", help="What learns; see flawscope methods. [patchcore]")
]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="What sees: bundled, a name in the weights folder, or a file."),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option("--weights-dir", envvar="FLAWSCOPE_WEIGHTS", help="The folder of further backbones."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of splits and of what is drawn. [0]")]
Device = Annotated[
    str, typer.Option("--device", help="What networks are trained on: auto, cpu, cuda or mps.")
]
TestData = Annotated[Path, typer.Option("--data", "-d", help="Folder, list or manifest with the test part.")]
Layout = Annotated[
    str | None, typer.Option("--layout", help="How the folder is laid out; otherwise recognised by itself.")
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="REGEX",
        help="Pattern on the path: (?P<part>...) names the part, (?P<group>...) the lot, camera or day; "
        "a plain group names both.",
    ),
]
Product = Annotated[
    str | None,
    typer.Option(
        "--product", help="Which product, where the folder holds several; all: one model for all of them."
    ),
]


class Engines(StrEnum):
    """What carries work out."""

    PROCESSES = "processes"
    RAY = "ray"


Address = Annotated[
    str, typer.Option("--address", help="Of a Ray cluster; otherwise a Ray of this machine is started.")
]


def refuse_address(address: str) -> None:
    """Raise UsageError for the address of a cluster where none is asked for."""
    if address:
        raise UsageError("--address belongs to --engine ray", found=f"--address {address} without it")


def size_wh(text: str) -> tuple[int, int]:
    """Read `256x192` as width and height. Raises UsageError for anything else."""
    width, separator, height = text.lower().replace("\u00d7", "x").partition("x")
    if not separator or not width.strip().isdecimal() or not height.strip().isdecimal():
        raise UsageError(f"--size {text} is no size", expected="width x height in px, such as 256x192")
    return int(width), int(height)


def pair(text: str, *, option: str) -> tuple[int, int]:
    """Read `0,4095` as two whole numbers. Raises UsageError for anything else."""
    first, _, second = text.partition(",")
    if not first.strip().isdecimal() or not second.strip().isdecimal():
        raise UsageError(f"{option} {text} does not fit", expected="two whole numbers, such as 0,4095")
    return int(first), int(second)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
