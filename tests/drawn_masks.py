"""Masks as hypothesis draws them: empty, one pixel, at the border, several regions, with holes, not
square."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn


def masks(*, most: int = 14, empty: bool = True) -> st.SearchStrategy[np.ndarray]:
    """Masks bool (H, W) of 1 to `most` pixels a side; without `empty` at least one pixel is marked."""
    sides = st.tuples(st.integers(1, most), st.integers(1, most))
    noise = sides.flatmap(lambda size: stn.arrays(np.bool_, size))
    found = st.one_of(noise, sides.flatmap(_rings), sides.flatmap(_one_pixel))
    return found if empty else found.filter(lambda mask: bool(mask.any()))


def _rings(size_hw: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """Draw rectangles and holes in them, up to the border."""

    def draw(boxes: list[tuple[int, int, int, int, bool]]) -> np.ndarray:
        mask = np.zeros(size_hw, bool)
        for top, left, bottom, right, value in boxes:
            mask[min(top, bottom) : max(top, bottom) + 1, min(left, right) : max(left, right) + 1] = value
        return mask

    row, column = st.integers(0, size_hw[0] - 1), st.integers(0, size_hw[1] - 1)
    return st.lists(st.tuples(row, column, row, column, st.booleans()), max_size=6).map(draw)


def _one_pixel(size_hw: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    def draw(place: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(size_hw, bool)
        mask[place] = True
        return mask

    return st.tuples(st.integers(0, size_hw[0] - 1), st.integers(0, size_hw[1] - 1)).map(draw)
