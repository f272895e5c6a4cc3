"""Drawn chips: the same from the same seed, masks that fit what changed, every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core.errors import UsageError
from flawscope.core.types import GOOD
from flawscope.synth.chips import DEFECTS, SHIFTS, VISIBLE, draw_chip
from flawscope.synth.parts import PACKAGES, Lot, design_of, lot_of

SIZE = (96, 128)


def _lot(package: str | None = None, *, seed: int = 3, number: int = 0) -> Lot:
    return lot_of(design_of(seed, package=package), seed, number=number)


def test_same_seed_and_index_give_the_same_picture() -> None:
    first = draw_chip(5, SIZE, lot=_lot(), index=7, defect="crack")
    again = draw_chip(5, SIZE, lot=_lot(), index=7, defect="crack")
    assert np.array_equal(first.pixels, again.pixels)
    assert first.mask is not None and again.mask is not None and np.array_equal(first.mask, again.mask)
    other = draw_chip(5, SIZE, lot=_lot(), index=8, defect="crack")
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_nothing_changes_outside_the_mask(package: str, defect: str) -> None:
    lot = _lot(package)
    for index in range(4):
        good = draw_chip(11, SIZE, lot=lot, index=index)
        bad = draw_chip(11, SIZE, lot=lot, index=index, defect=defect)
        assert bad.mask is not None and bad.mask.shape == SIZE
        change = np.abs(bad.pixels.astype(int) - good.pixels)
        assert change[~bad.mask].max() <= VISIBLE + 1  # rounding
        assert bad.area_px == bad.mask.sum() > 0
        assert bad.contrast == pytest.approx(change[bad.mask].mean())
        assert bad.contrast > VISIBLE / 3  # of three channels, one may carry the change
        assert bad.label == defect and bad.lot == lot.name and not bad.is_shift


def test_a_good_part_has_no_mask() -> None:
    good = draw_chip(1, SIZE, lot=_lot())
    assert (good.mask, good.label, good.contrast, good.area_px) == (None, GOOD, 0.0, 0)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_much_of_the_picture_and_marks_nothing(shift: str) -> None:
    good = draw_chip(1, SIZE, lot=_lot())
    shifted = draw_chip(1, SIZE, lot=_lot(), defect=shift)
    assert shifted.mask is None and shifted.area_px == 0 and shifted.is_shift
    change = np.abs(shifted.pixels.astype(int) - good.pixels).max(2)
    assert (change > 8).mean() > 0.2
    assert shifted.contrast > 4


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(32, 150),
    width=st.integers(32, 150),
    defect=st.sampled_from((None, *DEFECTS, *SHIFTS)),
    index=st.integers(0, 99),
)
def test_every_size_is_drawn(height: int, width: int, defect: str | None, index: int) -> None:
    drawn = draw_chip(2, (height, width), lot=_lot(number=index % 5), index=index, defect=defect)
    assert drawn.pixels.shape == (height, width, 3) and drawn.pixels.dtype == np.uint8
    assert drawn.pixels.std() > 8


@pytest.mark.parametrize("size_hw", [(48, 64), (64, 401)])
def test_small_and_long_pictures_hold_every_defect(size_hw: tuple[int, int]) -> None:
    for index, defect in enumerate(DEFECTS):
        drawn = draw_chip(4, size_hw, lot=_lot(), index=index, defect=defect)
        assert drawn.mask is not None and 5 <= drawn.mask.sum() < 0.2 * drawn.mask.size


def test_a_large_picture_holds_painted_and_built_defects() -> None:
    for defect in ("contamination", "bent_lead"):
        drawn = draw_chip(4, (700, 1000), lot=_lot(), defect=defect)
        assert drawn.mask is not None and 200 <= drawn.mask.sum() < 0.1 * drawn.mask.size


def test_the_picture_scales_with_its_size() -> None:
    small, large = (draw_chip(2, size, lot=_lot(), index=1).pixels for size in ((96, 128), (384, 512)))
    shrunk = large.reshape(96, 4, 128, 4, 3).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.9


def test_severity_orders_contrast() -> None:
    weak, strong = (
        [
            draw_chip(2, SIZE, lot=_lot(), index=index, defect="discoloration", severity=severity).contrast
            for index in range(6)
        ]
        for severity in (0.0, 1.0)
    )
    assert np.mean(strong) > 1.4 * np.mean(weak)


def test_lots_differ_more_than_the_parts_of_a_lot() -> None:
    design = design_of(0)
    means = np.array(
        [
            [
                draw_chip(0, SIZE, lot=lot_of(design, 0, number=n), index=10 * n + k).pixels.mean()
                for k in range(5)
            ]
            for n in range(8)
        ]
    )
    assert means.mean(1).std() > 2 * means.std(1).mean()


def test_wrong_calls_are_named() -> None:
    with pytest.raises(UsageError, match="dent"):
        draw_chip(0, SIZE, lot=_lot(), defect="dent")
    with pytest.raises(UsageError, match="16x16"):
        draw_chip(0, (16, 16), lot=_lot())
    with pytest.raises(UsageError, match="severity"):
        draw_chip(0, SIZE, lot=_lot(), defect="crack", severity=2.0)
    with pytest.raises(ValueError, match="package"):
        design_of(0, package="round")
