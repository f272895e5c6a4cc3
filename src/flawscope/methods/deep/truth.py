"""What labelled samples say of their canvases: where a defect is, where none is, and where nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from flawscope.core.errors import DataError
from flawscope.core.types import Array, Fit, Image, Preprocess, Sample
from flawscope.imaging.preprocess import iter_canvases
from flawscope.imaging.read import read_mask, size_of
from flawscope.methods.contract import FitContext
from flawscope.methods.deep.canvases import Canvases
from flawscope.runtime.reading import TILE_BATCH

GOOD, DEFECT, UNKNOWN = 0, 1, -1
MARKED_SHARE = 0.25  # of a cell that a mask must cover to make it a defect's; less leaves it unknown


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of each canvas and of each cell of a grid over it."""

    cells: Array  # int8 (n, h, w): GOOD, DEFECT or UNKNOWN
    labels: Array  # int8 (n,): the same of the whole canvas

    def flipped(self, *, rows: bool, columns: bool) -> Truth:
        """Return what is known of the mirrored canvases."""
        cells = self.cells[:, ::-1] if rows else self.cells
        return Truth(np.ascontiguousarray(cells[:, :, ::-1] if columns else cells), self.labels)


def load_truth(
    samples: Sequence[Sample], canvases: Canvases, context: FitContext, *, grid_hw: tuple[int, int]
) -> Truth:
    """Return what these samples' labels and masks say of their canvases.

    A defect without a mask, or with an empty one, makes its canvas a defect's with every cell unknown; of
    tiles it is not known which of them shows it. Raises DataError for a mask of another size than its
    photograph, ImageError for one that cannot be read.
    """
    cells = np.zeros((len(canvases), *grid_hw), np.int8)
    labels = np.zeros(len(canvases), np.int8)
    masks = _masks(samples)
    for index, sample in enumerate(samples):
        if not sample.is_bad:
            continue
        own = np.flatnonzero(canvases.owners == index)
        mask = next(masks) if sample.mask_path is not None else None
        if mask is None or not mask.any():
            cells[own] = UNKNOWN
            labels[own] = UNKNOWN if context.preprocess.fit is Fit.TILES else DEFECT
            continue
        cells[own] = np.stack([marked(shown, grid_hw) for shown in _on_canvases(mask, context.preprocess)])
        labels[own] = np.where((cells[own] == DEFECT).any((1, 2)), DEFECT, GOOD)
    return Truth(cells, labels)


def marked(mask: Array, grid_hw: tuple[int, int]) -> Array:
    """Return what a mask on a canvas, float32 (H, W) in 0..1, says of each cell of a grid: int8 (h, w).

    A cell of which the mask covers a quarter is a defect's, and where no cell reaches that, those it covers
    most. A cell that it merely touches is unknown.
    """
    covered = cv2.resize(mask, grid_hw[::-1], interpolation=cv2.INTER_AREA)
    most = float(covered.max())
    if most < 1e-3:
        return np.zeros(grid_hw, np.int8)
    cells = np.where(covered > 1e-3, UNKNOWN, GOOD).astype(np.int8)
    cells[covered >= min(MARKED_SHARE, most - 1e-6)] = DEFECT
    return cells


def _masks(samples: Sequence[Sample]) -> Iterator[Array]:
    """Yield the masks of the defects that have one, in order, each checked against its photograph."""
    for sample in samples:
        if not sample.is_bad or sample.mask_path is None:
            continue
        mask = read_mask(sample.mask_path)
        height, width = size_of(sample.path)
        if mask.shape != (height, width):
            raise DataError(
                f"The mask {sample.mask_path} does not fit its photograph",
                expected=f"{width}x{height} pixels",
                found=f"{mask.shape[1]}x{mask.shape[0]}",
            )
        yield mask


def _on_canvases(mask: Array, preprocess: Preprocess) -> Iterator[Array]:
    """Yield a mask as each of its photograph's canvases shows it, float32 (H, W); padding shows none."""
    picture = Image(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255)
    # padding and what is not judged get the mean's colour: none
    unmarked = replace(preprocess, mean=(0.0, 0.0, 0.0))
    for chunk in iter_canvases(picture, unmarked, batch=TILE_BATCH):
        for pixels in chunk.pixels:
            yield pixels[..., 0].astype(np.float32) / 255
