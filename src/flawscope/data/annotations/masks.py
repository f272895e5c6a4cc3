"""Masks of photographs whose annotations are polygons or run lengths, drawn as pictures where readers look.

They go into `.flawscope/masks` beside the annotations, named by their content: what is corrected gets a new
one, what is the same is not drawn again, and no layout takes the hidden folder for photographs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flawscope.core import digest, files
from flawscope.core.errors import DataError
from flawscope.data.annotations.types import Annotated
from flawscope.imaging import rle
from flawscope.imaging.write import encode

FOLDER = Path(".flawscope") / "masks"


def mask_file(photograph: Annotated, folder: Path) -> Path | None:
    """Return the mask of a photograph as a file below `folder`, drawn where it is not there yet; None where
    nothing is marked or some place is a box only. Raises DataError where it cannot be written."""
    mask = photograph.mask()
    if mask is None or not mask.any():
        return None
    key = digest.of_value([list(mask.shape), rle.packed(rle.counts_of(mask))])[:32]
    place = folder / FOLDER / f"{key}.png"
    if not place.is_file():
        try:
            files.write_bytes(place, encode(mask.astype(np.uint8) * 255, ".png"))
        except OSError as error:
            raise DataError(
                f"The mask of {photograph.name} cannot be drawn into {place.parent}",
                expected="a folder that can be written",
                found=error.strerror or str(error),
                remedy="Copy the annotations to a place where masks can be written beside them",
            ) from None
    return place
