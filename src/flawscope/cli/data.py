"""`flawscope data`: what a folder of photographs holds, before anything is taught."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.border import error_json, in_lines
from flawscope.cli.options import AsJson, GroupBy, Layout
from flawscope.cli.progress import progress
from flawscope.core.errors import DataError, FlawscopeError, ImageError

if TYPE_CHECKING:
    from flawscope.core.progress import Progress
    from flawscope.core.types import Sample
    from flawscope.data.describe import DatasetRow, DatasetTable
    from flawscope.data.layouts import Dataset


@dataclass(frozen=True, eq=False)
class Looked:
    """What was found in a folder."""

    dataset: Dataset
    samples: tuple[Sample, ...]  # with the roles of the split, where one was asked for
    table: DatasetTable
    notes: tuple[str, ...]
    broken: tuple[str, ...]
    leak: FlawscopeError | None
    coords: Path | None = None  # that was written


def data(
    folder: Annotated[Path, typer.Argument(help="Folder, list or manifest.", show_default=False)],
    layout: Layout = None,
    group_by: GroupBy = None,
    resplit: Annotated[
        str | None,
        typer.Option("--resplit", help="Deal all anew to teach, select and test, such as 70/20/10."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of --resplit.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write manifest.jsonl into this folder.")
    ] = None,
    coords: Annotated[
        Path | None,
        typer.Option("--coords", help="Write where the product lies in each image, .json or .csv."),
    ] = None,
    coords_of: Annotated[
        str, typer.Option("--coords-of", help="Of --coords: boxes around the foreground, or around masks.")
    ] = "foreground",
    strict: Annotated[
        bool, typer.Option("--strict", help="Near-duplicates across roles are errors, not warnings.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a folder of photographs holds: labels, sizes, parts, leaks.

    Exit code 4 where the same content, part or group stands in two roles; 3 where files cannot be read.
    """
    from flawscope.data.layouts import read_dataset
    from flawscope.data.manifest import write_manifest

    dataset = read_dataset(folder, layout=layout, group_by=group_by)
    with progress() as listener:
        looked = look(dataset, resplit=resplit, seed=seed, strict=strict, listener=listener)
        if coords is not None:
            looked = with_coords(looked, coords, source=coords_of, listener=listener)
    manifest = None if out is None else out / "manifest.jsonl"
    if manifest is not None and looked.leak is None:
        write_manifest(manifest, looked.samples)
    if as_json:
        words.say_json(as_values(looked, manifest))
    else:
        tell(looked, folder, manifest)
    if looked.leak is not None:
        words.remark(in_lines(looked.leak))
        raise typer.Exit(looked.leak.exit_code)
    if looked.broken:
        raise typer.Exit(ImageError.exit_code)


def look(dataset: Dataset, *, resplit: str | None, seed: int, strict: bool, listener: Progress) -> Looked:
    """Read every header, deal the roles where asked for, and look for leaks."""
    from flawscope.core.types import Role
    from flawscope.data.describe import describe
    from flawscope.data.digests import with_digests
    from flawscope.data.leaks import check_leaks
    from flawscope.data.splits import assign_roles, parse_resplit
    from flawscope.imaging.read import size_of

    sizes: dict[str, tuple[int, int] | None] = {}
    broken: list[str] = []
    with listener.stage("Looking", len(dataset.samples)) as stage:
        for sample in dataset.samples:
            try:
                sizes[sample.path] = size_of(sample.path)
            except ImageError as error:
                sizes[sample.path] = None
                broken.append(str(error))
            stage.advance()
    sound = with_digests(
        [sample for sample in dataset.samples if sizes[sample.path] is not None], progress=listener
    )
    notes, leak = dataset.notes, None
    samples = sound
    try:
        if resplit is not None and sound:
            split = assign_roles(sound, parse_resplit(resplit, seed=seed), keep_test=False)
            samples, notes = split.samples, (*notes, *split.notes)
            checked = samples
        else:  # what is not the test would teach
            checked = tuple(sample if sample.role else replace(sample, role=Role.FIT) for sample in sound)
        notes = (*notes, *check_leaks(checked, strict=strict, progress=listener))
    except DataError as error:
        leak = error
    shown = samples if resplit is not None else dataset.samples
    table = describe(shown, size_of=lambda path: sizes.get(path.as_posix(), sizes.get(str(path))))
    return Looked(dataset, samples, table, notes, tuple(broken), leak)


def with_coords(looked: Looked, path: Path, *, source: str, listener: Progress) -> Looked:
    """Find and write where the products lie, and note what is to be known of it."""
    from flawscope.data.coords import write_coords
    from flawscope.flows.coords import find_coords

    found = find_coords(looked.dataset.samples, source, progress=listener)
    write_coords(path, found.outlines)
    return replace(looked, notes=(*looked.notes, *found.notes), coords=path)


def as_values(looked: Looked, manifest: Path | None) -> dict[str, Any]:
    """Return what was found as JSON."""
    return {
        "folder": str(looked.dataset.root),
        "layout": looked.dataset.layout,
        "products": list(looked.dataset.products),
        **looked.table.to_json(),
        "notes": list(looked.notes),
        "broken": list(looked.broken),
        "error": None if looked.leak is None else error_json(looked.leak),
        "manifest": None if manifest is None or looked.leak is not None else str(manifest),
        "coords": None if looked.coords is None else str(looked.coords),
    }


def tell(looked: Looked, folder: Path, manifest: Path | None) -> None:
    """Print the table, what was assumed, and what comes next."""
    from flawscope.data.layouts import layouts

    name = looked.dataset.layout
    known = [layout.looks_like for layout in layouts if layout.name == name]
    by = f" ({known[0]})" if known else ""
    words.sentence(f"{folder}: {words.counted(looked.table.total.images, 'image')}, layout {name}{by}.")
    rows = [_cells(row) for row in (*looked.table.rows, replace(looked.table.total, label="all"))]
    head = ("product", "label", "images", "parts", "groups", "masks", "width x height", "formats", "roles")
    kept = [i for i in range(len(head)) if i in (1, 2) or any(row[i] not in ("", "0") for row in rows)]
    if looked.table.total.parts == looked.table.total.images:  # every photograph is a part of its own
        kept.remove(3)
    table = [[row[i] for i in kept] for row in (head, *rows)]
    numbers = frozenset(place for place, i in enumerate(kept) if i in (2, 3, 4, 5))
    words.say(words.columns(table, right=numbers))
    for note in looked.notes:
        words.sentence(f"Note: {note}")
    for sentence in looked.broken[:5]:
        words.sentence(f"Cannot be read: {sentence}")
    if len(looked.broken) > 5:
        words.say(f"... and {len(looked.broken) - 5} more of {len(looked.broken)} that cannot be read.")
    if looked.coords is not None:
        words.say(f"Written: {looked.coords}, for flawscope risk --coords")
    if looked.leak is not None:
        return
    if manifest is not None:
        words.say(f"Written: {manifest}")
    source = manifest or folder
    words.say(f"Next: flawscope train --data {words.quoted(source)}")


def _cells(row: DatasetRow) -> tuple[str, ...]:
    size = ""
    if row.size is not None:
        (low_h, low_w), (mid_h, mid_w) = row.size.least_hw, row.size.median_hw
        (high_h, high_w) = row.size.greatest_hw
        size = f"{mid_w}x{mid_h}"
        if row.size.least_hw != row.size.greatest_hw:
            size += f" ({low_w}x{low_h} to {high_w}x{high_h})"
    roles = {role: n for role, n in row.roles.items() if role != "none"}
    dealt = ", ".join(f"{n} {role}" for role, n in roles.items())
    left = row.roles.get("none", 0)
    return (
        row.product,
        "no label" if row.label is None else row.label,
        str(row.images),
        str(row.parts),
        str(row.groups),
        str(row.masks),
        size,
        ", ".join(row.formats),
        f"{dealt}, {left} open" if dealt and left else dealt,
    )
