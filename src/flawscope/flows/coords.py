"""Where the product lies in the photographs of a data set: boxes around its foreground, or around masks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from flawscope.core.errors import ImageError, UsageError
from flawscope.core.progress import Progress
from flawscope.core.types import Sample
from flawscope.data.coords import WHOLE, Outline, box_of
from flawscope.imaging.foreground import WHOLE as NO_BACKGROUND
from flawscope.imaging.foreground import find_foreground
from flawscope.imaging.read import read, read_mask

SOURCES = ("foreground", "masks")


@dataclass(frozen=True)
class Found:
    """Outlines by image, and what people should know of them."""

    outlines: dict[str, Outline]
    notes: tuple[str, ...]


def find_coords(samples: Sequence[Sample], source: str, *, progress: Progress) -> Found:
    """Return each sample's box, by its id: that of its foreground or of its mask. Where no background is
    found, or no mask is given, it is the whole picture, and a note says of how many. Images that cannot be
    read are left out. Raises UsageError for another source."""
    if source not in SOURCES:
        raise UsageError(f"Coordinates are not taken from {source!r}", expected=" or ".join(SOURCES))
    boxed = _of_foreground if source == "foreground" else _of_mask
    outlines: dict[str, Outline] = {}
    whole = broken = 0
    with progress.stage("Finding products", len(samples)) as stage, ThreadPoolExecutor(2) as pool:
        for sample, found in zip(samples, pool.map(boxed, samples), strict=True):
            if found is None:
                broken += 1
            else:
                outlines[sample.id] = found
                whole += found.boxes == (WHOLE,)
            stage.advance()
    why = "no background was found" if source == "foreground" else "no mask was given"
    notes = []
    if whole:
        notes.append(f"{whole} of {len(samples)} images count as a whole: {why}.")
    if broken:
        notes.append(f"{broken} images cannot be read and have no coordinates.")
    return Found(outlines, tuple(notes))


def _of_foreground(sample: Sample) -> Outline | None:
    try:
        found = find_foreground(read(sample.path).pixels)
    except ImageError:
        return None
    return Outline((WHOLE if found.how == NO_BACKGROUND else box_of(found.mask),))


def _of_mask(sample: Sample) -> Outline | None:
    if sample.mask_path is None:
        return Outline((WHOLE,))
    try:
        mask = read_mask(sample.mask_path)
    except ImageError:
        return None
    return Outline((box_of(mask) if mask.any() else WHOLE,))
