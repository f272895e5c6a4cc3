"""How data sets lie on disk: recognised by themselves, or named; each becomes the same tuple of samples.

To add a layout, write one reader in a module here and decorate it with `@layout(...)`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core.errors import DataError, UsageError
from flawscope.core.types import Sample
from flawscope.data.layouts import annotated, folders, listed, lists, published
from flawscope.data.layouts.registry import Layout, layouts
from flawscope.data.layouts.tree import MASK_NAMES, Reading, Tree, scan

__all__ = ["Dataset", "annotated", "folders", "layouts", "listed", "lists", "published", "read_dataset"]


@dataclass(frozen=True)
class Dataset:
    """The samples of one folder or list, the layout's name, and sentences about what was assumed."""

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    @property
    def products(self) -> tuple[str, ...]:
        """The products' names, sorted."""
        return tuple(sorted({sample.product for sample in self.samples}))


def read_dataset(folder: Path, *, layout: str | None = None, group_by: str | None = None) -> Dataset:
    """Read the samples under a folder, or of one list file (`.csv`, `.jsonl`, `.json`).

    `layout` names a layout instead of having it recognised. `group_by` is a regular expression searched in
    each sample's id: named groups `part` and `group` set these, otherwise the first group (or the whole
    match) sets both. Only the layout's own test part gets a role (TEST). Raises DataError where nothing is
    found, nothing is recognised or `group_by` matches nowhere; UsageError for an unknown layout or a broken
    expression.
    """
    if folder.is_file():
        reading, name = lists.read_list(folder), lists.list_layout(folder)
        if layout not in (None, name):
            raise UsageError(f"{folder} is a list of the layout {name}", found=f"--layout {layout}")
        root = folder.absolute().parent
    elif folder.is_dir():
        tree = scan(folder)
        if not tree.files:
            raise DataError(f"{folder} is empty", expected="a folder with images")
        reading, name = _read(tree, layout)
        root = tree.root
    else:
        raise DataError(f"There is no folder or list {folder}")
    if not reading.samples:
        raise DataError(
            f"{folder} holds no images of the layout {name}",
            expected=layouts[name].looks_like,
            found=_seen(folder),
        )
    _refuse_repeated(reading.samples, folder)
    samples, notes = _grouped(reading.samples, group_by)
    return Dataset(root, name, samples, (*reading.notes, *notes))


def _read(tree: Tree, name: str | None) -> tuple[Reading, str]:
    """Read with the layout that fits: the folder itself, its folders as products, or its only folder."""
    candidates = list(layouts) if name is None else [layouts[name]]
    for candidate in candidates:
        if candidate.recognise(tree):
            return candidate.read(tree), candidate.name
    if (reading := _read_products(tree, candidates)) is not None:
        return reading
    if len(tree.folders) == 1 and "/" in tree.files[0]:
        inside = tree.child(tree.folders[0])
        for candidate in candidates:
            if candidate.recognise(inside):
                return candidate.read(inside), candidate.name
    if name is not None:
        return candidates[0].read(tree), name
    raise DataError(
        f"The layout of {tree.root} is not recognised",
        expected="one of: " + "; ".join(f"{known.name} ({known.looks_like})" for known in layouts),
        found=_seen(tree.root),
        remedy="Name it with --layout, or list the images in a CSV file with the columns path and label",
    )


def _read_products(tree: Tree, candidates: list[Layout]) -> tuple[Reading, str] | None:
    """Read each folder inside as a product of its own, where the folders share one layout."""
    children = [tree.child(folder) for folder in tree.folders if folder.lower() not in MASK_NAMES]
    children = [child for child in children if child.images]
    for candidate in candidates:
        if not candidate.products:
            continue
        products = [child for child in children if candidate.recognise(child)]
        if not products:
            continue
        samples: list[Sample] = []
        notes: list[str] = []
        for child in products:
            product = child.prefix.rstrip("/")
            reading = candidate.read(child)
            samples += [replace(sample, product=product) for sample in reading.samples]
            notes += [f"{product}: {note}" for note in reading.notes]
        left_out = [child.prefix.rstrip("/") for child in children if child not in products]
        if left_out:
            notes.append(f"Left out, of another layout than {candidate.name}: {', '.join(left_out)}.")
        return Reading(tuple(samples), tuple(notes)), candidate.name
    return None


def _seen(folder: Path) -> str:
    """Say in a line what lies in a folder."""
    if folder.is_file():
        return folder.name
    tree = scan(folder)
    places = Counter("/".join(name.split("/")[:-1]) or "." for name in tree.images)
    shown = ", ".join(f"{place} ({n} images)" for place, n in sorted(places.items())[:8])
    more = f" and {len(places) - 8} more folders" if len(places) > 8 else ""
    return shown + more if shown else f"{len(tree.files)} files, none of them an image by its ending"


def _refuse_repeated(samples: tuple[Sample, ...], folder: Path) -> None:
    name, n = Counter(sample.id for sample in samples).most_common(1)[0]
    if n > 1:
        raise DataError(f"{folder} lists {name} {n} times", expected="each image once")


def _grouped(samples: tuple[Sample, ...], group_by: str | None) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    if group_by is None:
        return samples, ()
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UsageError(f"--group-by {group_by} is no regular expression", found=str(error)) from None
    grouped: list[Sample] = []
    missed: list[str] = []
    for sample in samples:
        match = pattern.search(sample.id)
        if match is None:
            missed.append(sample.id)
            grouped.append(sample)
            continue
        grouped.append(_with_groups(sample, match))
    if len(missed) == len(samples):
        raise DataError(
            f"--group-by {group_by} matches no image",
            expected="a match in paths like the one found",
            found=missed[0],
        )
    note = (
        f"--group-by leaves {len(missed)} of {len(samples)} images ungrouped, e.g. {missed[0]}."
        if missed
        else ""
    )
    return tuple(grouped), (note,) if note else ()


def _with_groups(sample: Sample, match: re.Match[str]) -> Sample:
    named = match.groupdict()
    if "part" in named or "group" in named:
        part = named.get("part") or sample.part
        return replace(sample, part=part, group=named.get("group") or sample.group)
    value = (match[1] if match.re.groups else match[0]) or ""
    return replace(sample, part=value, group=value)
