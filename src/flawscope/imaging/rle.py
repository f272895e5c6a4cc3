"""Masks as run lengths, the way COCO keeps them: columns first, and the counts packed into a short string.

The string is that of pycocotools (Lin et al. 2014): each count, from the fourth on less the one two before
it, in groups of five bits, lowest first, each group as a character from `0` on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FIRST = 48  # the character 0
_MORE = 0x20
_SIGN = 0x10


def counts_of(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask bool (H, W), column by column; the first run is of unmarked pixels and
    may be 0 long."""
    cells = np.asarray(mask, bool).ravel(order="F")
    if not cells.size:
        return [0]
    edges = np.flatnonzero(cells[1:] != cells[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [cells.size]])).tolist()
    return [0, *runs] if cells[0] else runs


def mask_of(counts: Sequence[int], size_hw: tuple[int, int]) -> np.ndarray:
    """Return the mask bool (H, W) of run lengths. Raises ValueError for a run below zero, or where the runs
    do not add up to the picture."""
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != size_hw[0] * size_hw[1]:
        raise ValueError(
            f"the runs add up to {int(lengths.sum())} pixels, the picture has {size_hw[0] * size_hw[1]}"
        )
    marked = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(marked.reshape(size_hw, order="F"))


def packed(counts: Sequence[int]) -> str:
    """Return run lengths as the string that pycocotools reads."""
    characters = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & _SIGN else 0)
            characters.append(chr(_FIRST + (group | _MORE if more else group)))
    return "".join(characters)


def unpacked(text: str) -> list[int]:
    """Return the run lengths of a packed string. Raises ValueError for a string that is none."""
    counts: list[int] = []
    value = shift = 0
    for place, character in enumerate(text):
        group = ord(character) - _FIRST
        if not 0 <= group < 64:
            raise ValueError(f"{character!r} at place {place} is no character of run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & _MORE:
            continue
        if group & _SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the string of run lengths is cut off")
    return counts
