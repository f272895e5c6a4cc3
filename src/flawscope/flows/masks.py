"""Maps beside masks: brought to one size, one photograph in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import cv2
import numpy as np

from flawscope.core.errors import DataError, ImageError
from flawscope.core.types import Array, Sample
from flawscope.imaging.read import read_mask, size_of

_T = TypeVar("_T")
_LARGEST_MAP_PX = 1_000_000  # maps and masks are compared at the photograph's size, but no larger than this


def refuse_misfits(samples: Sequence[Sample]) -> None:
    """Raise ImageError for a mask that is no image, DataError for one of another size than its photograph;
    headers alone are read, so that it is said before everything is judged."""
    for sample in samples:
        if sample.mask_path is None:
            continue
        try:
            expected = size_of(sample.path)
        except ImageError:  # it will be reported as not judged
            continue
        found = size_of(sample.mask_path)
        if found != expected:
            raise _misfit(sample.mask_path, expected, found)


def _misfit(mask_path: str, expected_hw: tuple[int, ...], found_hw: tuple[int, ...]) -> DataError:
    return DataError(
        f"The mask {mask_path} does not fit its photograph",
        expected=f"{expected_hw[1]}x{expected_hw[0]} px",
        found=f"{found_hw[1]}x{found_hw[0]} px",
        remedy="Correct the mask, or leave localisation out with --no-pixels",
    )


class OneByOne(Sequence[_T]):
    """A sequence whose items are made when they are looked at."""

    def __init__(self, length: int, item: Callable[[int], _T]) -> None:
        self._length = length
        self._item = item

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | Sequence[_T]:
        places = range(self._length)[index]
        return self._item(places) if isinstance(places, int) else [self._item(i) for i in places]


def shown_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which map and mask of a photograph are compared: its own, within the limit."""
    height, width = size_hw
    scale = min(1.0, (_LARGEST_MAP_PX / (height * width)) ** 0.5)
    return max(1, round(height * scale)), max(1, round(width * scale))


def map_at(heat: Array, size_hw: tuple[int, int]) -> Array:
    """Return a map float32 (h, w) at the size at which it is compared; `size_hw` is the photograph's."""
    size_wh = shown_hw(size_hw)[::-1]
    return np.asarray(cv2.resize(heat.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask's bits at the size of comparison; none where nobody marked anything."""

    bits: Array | None  # uint8 (n,)
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, sample: Sample, size_hw: tuple[int, int], *, above: int | None) -> PackedMask:
        """Read a sample's mask; `size_hw` is its photograph's. Raises DataError for one of another size."""
        size = shown_hw(size_hw)
        if sample.mask_path is None:
            return cls(None, size)
        mask = read_mask(sample.mask_path, above=above)
        if mask.shape != size_hw:
            raise _misfit(sample.mask_path, size_hw, mask.shape)
        if mask.shape != size:  # a cell that holds any of the flaw is flawed: thin scratches must not vanish
            share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            mask = np.asarray(share) > 0
        return cls(np.packbits(mask), size)

    def mask(self) -> Array | None:
        """Return the mask bool (h, w), or None where there is none."""
        if self.bits is None:
            return None
        height, width = self.size_hw
        return np.unpackbits(self.bits, count=height * width).reshape(height, width).astype(bool)
