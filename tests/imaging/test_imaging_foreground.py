"""The product's place: drawn chips whose body is known, simple shapes, and pictures without a background."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.core.rng import derive
from flawscope.imaging.foreground import FLOOD, OTSU, WHOLE, find_foreground
from flawscope.synth import scene
from flawscope.synth.chips import DEFECTS, draw_chip
from flawscope.synth.parts import PACKAGES, design_of, lot_of, plan_of
from flawscope.synth.textures import random_texture

SIZE_HW = (192, 256)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("defect", [None, *DEFECTS[:5]])
def test_a_chip_is_found_before_its_tape(package, defect):
    lot = lot_of(design_of(3, package=package), 3, number=1)
    drawn = draw_chip(3, SIZE_HW, lot=lot, index=2, defect=defect)
    body = scene.render(plan_of(lot, derive(3, "part", 2)), SIZE_HW).body > 0
    found = find_foreground(drawn.pixels)
    assert found.mask.shape == SIZE_HW and found.mask.dtype == bool
    assert (found.mask & body).sum() >= 0.98 * body.sum()
    if found.how != WHOLE:  # a pocket may be taken for the product's rim, the tape may not
        assert found.share <= 0.6
        assert not found.mask[:, :8].any() and not found.mask[:, -8:].any()


def test_most_chips_are_told_from_their_tape():
    found = []
    for number in range(12):
        lot = lot_of(design_of(number), number, number=number)
        found.append(find_foreground(draw_chip(number, SIZE_HW, lot=lot).pixels).how)
    assert found.count(WHOLE) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_a_texture_is_all_product(seed):
    """Nothing is cut out of a picture that shows no background."""
    pixels = random_texture(np.random.default_rng(seed), (160, 200))
    assert find_foreground(pixels).share == 1


@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_even_picture_is_all_product(level):
    found = find_foreground(np.full((60, 80, 3), level, np.uint8))
    assert found.how == WHOLE and found.mask.all()


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 500), (9, 9), (11, 2000)])
def test_a_sliver_is_all_product(size_hw):
    found = find_foreground(np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8))
    assert found.mask.shape == size_hw and found.mask.all()


@pytest.mark.parametrize("size_hw", [(120, 160), (600, 800), (1500, 900)])
def test_a_disc_with_a_hole_is_found_whole_at_any_size(size_hw):
    pixels, truth = _disc(size_hw, hole=True)
    found = find_foreground(pixels)
    assert found.how == OTSU
    assert _overlap(found.mask, truth) > 0.96


def test_a_lamp_that_falls_off_does_not_matter():
    pixels, truth = _disc((240, 320), hole=False)
    light = np.linspace(0.6, 1.2, 320, dtype=np.float32)[None, :, None]
    found = find_foreground(np.clip(pixels * light, 0, 255).astype(np.uint8))
    assert _overlap(found.mask, truth) > 0.96


def test_a_part_as_bright_as_its_uneven_background_is_found_by_its_edge():
    """A hump of light makes a ring of the background as bright as the part: no threshold separates them."""
    size_hw = (240, 320)
    down, across = np.mgrid[-1:1:240j, -1:1:320j]
    picture = (90 + 80 * np.exp(-(down**2 + across**2) * 2.0)).astype(np.float32)
    truth = np.zeros(size_hw, np.uint8)
    cv2.rectangle(truth, (110, 80), (210, 160), 1, -1)
    picture[truth > 0] -= 34
    noise = np.random.default_rng(1).normal(0, 1, size_hw)
    pixels = np.repeat(np.clip(picture + noise, 0, 255).astype(np.uint8)[..., None], 3, 2)
    found = find_foreground(pixels)
    assert found.how == FLOOD
    assert _overlap(found.mask, truth > 0) > 0.85  # an edge is as thick as its blur


def test_what_frames_the_picture_is_no_product():
    pixels, truth = _disc((240, 320), hole=False)
    pixels[:16] = 250  # the rim of a tray
    found = find_foreground(pixels)
    assert _overlap(found.mask, truth) > 0.96


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["across", "down", "both"]))
def test_a_flipped_picture_has_a_flipped_product(seed, way):
    rng = np.random.default_rng(seed)
    pixels, _ = _disc((int(rng.integers(100, 400)), int(rng.integers(100, 400))), hole=bool(rng.integers(2)))
    pixels = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    turned = pixels[:, ::-1] if way == "across" else pixels[::-1] if way == "down" else pixels[::-1, ::-1]
    mask = find_foreground(pixels).mask
    other = find_foreground(np.ascontiguousarray(turned)).mask
    other = other[:, ::-1] if way == "across" else other[::-1] if way == "down" else other[::-1, ::-1]
    assert _overlap(mask, other) > 0.98


def test_the_picture_is_left_as_it_was():
    pixels, _ = _disc((200, 200), hole=True)
    before = pixels.copy()
    find_foreground(pixels)
    assert (pixels == before).all()


@pytest.mark.real
def test_cookies_are_found_on_their_tray(cookies):
    found = [
        find_foreground(cv2.imread(str(path))[..., ::-1].copy())
        for path in sorted((cookies / "training-images").glob("*.jpg"))[::4]
    ]
    assert sum(one.how == WHOLE for one in found) <= 1
    assert all(0.1 < one.share < 0.6 for one in found if one.how != WHOLE)


@pytest.mark.real
def test_magnetic_tiles_fill_their_pictures(magnetic_tiles):
    paths = sorted(magnetic_tiles.glob("*/Imgs/*.jpg"))[::20]
    found = [find_foreground(cv2.imread(str(path))[..., ::-1].copy()) for path in paths]
    assert sum(one.how == WHOLE for one in found) >= 0.95 * len(found)


def _disc(size_hw: tuple[int, int], *, hole: bool) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on a dark ground, with a hole or not: its picture, and where it is, hole included."""
    height, width = size_hw
    pixels = np.full((height, width, 3), (40, 44, 52), np.uint8)
    middle, radius = (width // 2, height // 2), min(size_hw) // 3
    cv2.circle(pixels, middle, radius, (150, 130, 90), -1)
    if hole:
        cv2.circle(pixels, middle, radius // 3, (40, 44, 52), -1)
    truth = np.zeros(size_hw, np.uint8)
    cv2.circle(truth, middle, radius, 1, -1)
    return pixels, truth > 0


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())
