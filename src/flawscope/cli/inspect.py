"""`flawscope inspect`: a verdict for every photograph."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import Address, AsJson, Engines, Model, Threads, refuse_address, usable_cores
from flawscope.cli.progress import progress
from flawscope.core.errors import UsageError
from flawscope.flows.listing import Found, found_in

if TYPE_CHECKING:
    from flawscope.core.types import Inspection
    from flawscope.runtime.inspector import Inspector

SOME_NOT_JUDGED = 3
FOUND = 10  # what --fail-on asked about
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_SAME_ENDING = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_SHOWN = 3  # images not judged that the summary names


class FailOn(StrEnum):
    """Which verdicts set the exit code."""

    NG = "ng"
    REVIEW = "review"


def inspect(
    paths: Annotated[list[Path], typer.Argument(help="Images, and folders of them.", show_default=False)],
    model: Model,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write every image with its heat map into this folder.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the verdicts as a CSV table.")] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit code 10 where one is NG (review: NG or REVIEW)."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images judged together; more is faster on GPUs.")
    ] = 1,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="cpu, cuda, tensorrt, openvino, directml, coreml or a full name."),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option("--product", help="Whose limits count, where the bundle serves several products."),
    ] = None,
    engine: Annotated[
        Engines, typer.Option("--engine", help="processes: this one alone; ray: the workers of a cluster.")
    ] = Engines.PROCESSES,
    address: Address = "",
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Judge photographs with a bundle: OK, REVIEW or NG, and where the flaw is.

    Exit code 3 where some could not be judged, 10 where --fail-on finds what it asks about.
    """
    from flawscope.flows.inspect_cluster import Judging, judged_on_cluster
    from flawscope.runtime.inspector import Inspector

    if engine is not Engines.RAY:
        refuse_address(address)
    files = found_in(paths, besides=out)
    refuse_overwriting(files, out)
    names = () if provider is None else (_PROVIDERS.get(provider.lower(), provider),)
    inspector = Inspector.open(model, threads=threads, providers=names, product=product or "")
    places = overlay_places(files, out)
    judged: list[Inspection] = []
    start = time.perf_counter()
    with progress(lines_follow=True) as listener, listener.stage("Judging", len(files)) as stage:
        listed = [str(file.path) for file in files]
        if engine is Engines.RAY:
            how = Judging(
                model, product or "", names, threads or 1, usable_cores(), batch, out is not None, address
            )
            verdicts = judged_on_cluster(listed, how)
        else:
            verdicts = inspector.inspect(listed, batch=batch)
        for file, inspection in zip(files, verdicts, strict=True):
            if as_json:
                words.say_json_line(inspection.to_json())
            else:
                words.say(line(inspection))
            if file in places and inspection.map is not None:
                _write_overlay(places[file], inspection, inspector)
            judged.append(replace(inspection, map=None))
            stage.advance()
    seconds = time.perf_counter() - start
    if csv is not None:
        from flawscope.cli.verdict_table import verdict_table
        from flawscope.core.files import write_text

        write_text(csv, verdict_table(judged))
    if not as_json:
        words.say(summary(judged, seconds=seconds))
        written = [str(place) for place in (out, csv) if place is not None]
        if written:
            words.say(f"Written: {', '.join(written)}")
    if code := exit_code(judged, fail_on):
        raise typer.Exit(code)


def line(inspection: Inspection) -> str:
    """Write one image's verdict in a line."""
    from flawscope.report import format as fmt

    if inspection.verdict is None or inspection.p_value is None:
        assert inspection.error is not None
        message = inspection.error.message
        shown = message if inspection.path in message else f"{inspection.path}: {message}"
        return f"{words.coloured(words.NOT_JUDGED, width=10)}  {shown}"
    rank = f"p {fmt.p_value(inspection.p_value)}"
    where = regions_in_words(inspection)
    told = f"   {where}" if where else ""
    if inspection.probabilities and inspection.likeliest:
        share = words.plain(fmt.percent(inspection.probabilities[inspection.likeliest]))
        told = f"   {inspection.likeliest} {share}{told}"
    warned = f"   ({'; '.join(inspection.warnings)})" if inspection.warnings else ""
    return f"{words.coloured(inspection.verdict.value, width=10)}  {rank:<8}  {inspection.path}{told}{warned}"


def regions_in_words(inspection: Inspection) -> str:
    """Say how many regions there are, how large the largest is and where its left upper corner lies."""
    if not inspection.regions:
        return "" if inspection.verdict == "OK" else "no single place stands out"
    largest = max(inspection.regions, key=lambda region: region.area_px)
    left, top, right, bottom = largest.box_xyxy
    size = f"{right - left}x{bottom - top} px at ({left}, {top})"
    count = len(inspection.regions)
    return f"1 region, {size}" if count == 1 else f"{count} regions, the largest {size}"


def summary(judged: Sequence[Inspection], *, seconds: float) -> str:
    """Write how many got which verdict, what could not be judged, and how fast it went."""
    counts = Counter("none" if one.verdict is None else one.verdict.value for one in judged)
    verdicts = ", ".join(f"{counts[name]} {name}" for name in ("OK", "REVIEW", "NG"))
    pieces = [f"{words.counted(len(judged), 'image')}: {verdicts}"]
    faults = [one for one in judged if one.error is not None]
    if faults:
        named = [
            f"{one.path} {words.FAULTS.get(one.error.code, one.error.code)}"
            for one in faults[:_SHOWN]
            if one.error is not None
        ]
        more = [f"{len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        pieces.append(f"{len(faults)} not judged: {'; '.join([*named, *more])}")
    rate = len(judged) / seconds
    pieces.append(f"{rate:.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s")
    return "   ".join(pieces)


def exit_code(judged: Sequence[Inspection], fail_on: FailOn | None) -> int:
    """Return 10 where --fail-on finds what it asks about, else 3 where some were not judged, else 0."""
    verdicts = {None if one.verdict is None else one.verdict.value for one in judged}
    if fail_on is not None and verdicts & ({"NG"} if fail_on is FailOn.NG else {"NG", "REVIEW"}):
        return FOUND
    return SOME_NOT_JUDGED if None in verdicts else 0


def overlay_places(files: Sequence[Found], out: Path | None) -> dict[Found, Path]:
    """Return where each overlay goes: the image's own name where its ending can be written, `.png` behind it
    where not; names that are taken get a number."""
    if out is None:
        return {}
    places: dict[Found, Path] = {}
    taken: set[str] = set()
    for file in files:
        name = file.name
        if name.suffix.lower() not in _SAME_ENDING:
            name = name.with_name(name.name + ".png")
        number = 1
        while str(name).lower() in taken:
            number += 1
            name = name.with_name(f"{file.name.stem}-{number}{name.suffix}")
        taken.add(str(name).lower())
        places[file] = out / name
    return places


def refuse_overwriting(files: Sequence[Found], out: Path | None) -> None:
    places = overlay_places(files, out)
    originals = {file.path.resolve() for file in files}
    for file, place in places.items():
        if place.resolve() in originals:
            raise UsageError(
                f"--out {out} would write over {file.path}", remedy="Choose another folder for the overlays"
            )


def _write_overlay(place: Path, inspection: Inspection, inspector: Inspector) -> None:
    from flawscope.core.errors import ImageError
    from flawscope.imaging.overlay import overlay
    from flawscope.imaging.read import read
    from flawscope.imaging.write import write_image

    assert inspection.map is not None
    try:
        image = read(inspection.path, levels=inspector.bundle.contents.preprocess.levels)
    except ImageError:  # it was taken away since it was judged; the verdict stands
        words.remark(f"{inspection.path} is gone, so it has no overlay.")
        return
    limits = inspector.thresholds
    # a classifier's score is log-odds and no value of its map
    review = None if inspection.probabilities else limits.review
    pixels = overlay(image, inspection.map, limit=limits.pixel, review=review, regions=inspection.regions)
    write_image(place, pixels)
