"""What is measured of each photograph, once: numbers and small pictures, never the photograph itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flawscope.core.errors import ImageError
from flawscope.core.types import Array, Role, Sample

SIDE = 64  # of the small picture, px


@dataclass(frozen=True)
class Look:
    """How one photograph looks. Logarithms are natural: a difference of 0.1 is about 10 %."""

    size_hw: tuple[int, int]
    bits: int  # a sample, as stored
    colour: bool  # whether any pixel is not grey
    light_log: float  # of the median grey level
    red_log: float  # mean red over mean green
    blue_log: float  # mean blue over mean green
    sharpness_log: float  # amplitude of the finest details over that of details twice as large


@dataclass(frozen=True)
class MaskLook:
    """What a mask holds; `fault` says why it cannot be read."""

    size_hw: tuple[int, int] = (0, 0)
    share: float = 0.0  # of the pixels marked
    off_part_share: float | None = None  # of the marked pixels, outside the part; None: no part told apart
    fault: str = ""


@dataclass(frozen=True, eq=False)
class Facts:
    """All that the kinds of findings look at, a row a photograph, in the order of the samples.

    `vectors` and `patches` come from a backbone: one vector a photograph, float32 (n, C), and a few numbers
    at each place, float16 (n, positions, k). Rows of photographs that could not be read are zero.
    """

    samples: tuple[Sample, ...]  # with their digests where the file could be opened
    looks: tuple[Look | None, ...]
    faults: Mapping[int, ImageError]
    masks: Mapping[int, MaskLook]
    small: Array  # uint8 (n, SIDE, SIDE), grey
    vectors: Array
    patches: Array
    settings: tuple[str, ...]  # the setting of camera and lamp of each photograph; empty: not told apart
    alpha: float
    parts_needed: int  # good parts without which no rank can say NG at alpha
    seed: int = 0

    @property
    def readable(self) -> list[int]:
        """The rows of the photographs that could be read."""
        return [row for row, look in enumerate(self.looks) if look is not None]

    def look(self, row: int) -> Look:
        """Return how a readable photograph looks."""
        look = self.looks[row]
        assert look is not None
        return look


def side_of(sample: Sample) -> Role:
    """Return the role that counts for leaks: what has none yet would teach."""
    return sample.role or Role.FIT
