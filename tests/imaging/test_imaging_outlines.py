"""Run lengths and outlines: the same as pycocotools', and the same pixels back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_masks import masks
from hypothesis import given, settings
from pycocotools import mask as coco

from flawscope.imaging import rle
from flawscope.imaging.outlines import filled, one_ring, outlines


@given(masks())
@settings(max_examples=300, deadline=None)
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ours = rle.packed(rle.counts_of(mask))
    assert ours == theirs["counts"].decode()
    assert np.array_equal(rle.mask_of(rle.unpacked(ours), mask.shape), mask)


@pytest.mark.parametrize("side", [40, 700])
def test_long_runs_are_packed_as_pycocotools_packs_them(side: int):
    mask = np.zeros((side, side), bool)
    mask[side // 3 :, side // 2] = True
    mask[:, -1] = True
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert rle.packed(rle.counts_of(mask)) == theirs


@pytest.mark.parametrize(
    ("counts", "words"), [([3, 4], "add up to 7"), ([-1, 13], "12"), ([], "add up to 0")]
)
def test_run_lengths_that_do_not_fit_are_refused(counts: list[int], words: str):
    with pytest.raises(ValueError, match=words):
        rle.mask_of(counts, (3, 4))


@pytest.mark.parametrize("text", ["\x10", "~~~", "é", "P"])
def test_strings_that_are_no_run_lengths_are_refused(text: str):
    with pytest.raises(ValueError, match=r"cut off|no character"):
        rle.unpacked(text)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
@given(masks())
@settings(max_examples=300, deadline=None)
def test_outlines_give_every_pixel_back_here_and_in_pycocotools(mask: np.ndarray):
    rings = outlines(mask)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    assert len(rings) == count - 1, "one ring a region"
    assert np.array_equal(filled(rings, mask.shape), mask)
    if not rings:
        return
    assert np.array_equal(filled([one_ring(rings)], mask.shape), mask)
    for given_rings in (rings, [one_ring(rings)]):
        flat = [[float(value) for corner in ring for value in corner] for ring in given_rings]
        theirs = coco.decode(coco.merge(coco.frPyObjects(flat, *mask.shape)))
        assert np.array_equal(theirs.astype(bool), mask)


@given(masks(most=24, empty=False))
@settings(max_examples=150, deadline=None)
def test_simplified_outlines_stay_faithful(mask: np.ndarray):
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    rings = outlines(mask, tolerance_px=0.75)
    assert len(rings) == count - 1
    for i, ring in enumerate(rings, 1):
        region = labels == i
        drawn = filled([ring], mask.shape)
        assert np.count_nonzero(drawn & region) >= 0.9 * np.count_nonzero(drawn | region)


def test_a_simplified_disc_has_few_corners_and_a_hole_survives():
    rows, columns = np.mgrid[:80, :80]
    away = np.hypot(rows - 40, columns - 40)
    ring = (away < 30) & (away > 12)
    exact, short = outlines(ring), outlines(ring, tolerance_px=0.75)
    assert len(exact) == len(short) == 1 and len(short[0]) < len(exact[0]) / 2
    drawn = filled(short, ring.shape)
    assert not drawn[40, 40] and np.count_nonzero(drawn & ring) > 0.95 * np.count_nonzero(drawn | ring)


def test_polygons_off_the_grid_mark_the_pixels_whose_middle_they_hold():
    square = [(1.4, 1.4), (3.6, 1.4), (3.6, 3.6), (1.4, 3.6)]
    expected = np.zeros((6, 6), bool)
    expected[1:4, 1:4] = True
    assert np.array_equal(filled([square], (6, 6)), expected)
    thin = [(2.1, 2.1), (2.2, 2.1), (2.2, 2.2)]
    assert np.argwhere(filled([thin], (6, 6))).tolist() == [[2, 2]], "a place too thin keeps one pixel"
    outside = [(-5.0, -5.0), (20.0, -5.0), (20.0, 20.0), (-5.0, 20.0)]
    assert filled([outside], (6, 6)).all()
    for broken in ([(0, 0), (1, 1)], [(0, 0), (1, 1), (float("nan"), 2)]):
        with pytest.raises(ValueError, match="three corners"):
            filled([broken], (6, 6))
