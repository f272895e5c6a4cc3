"""Textures and painted defects as others use them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flawscope.synth import defects, textures


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_spectral_noise_has_the_slope_it_was_asked_for(exponent: float) -> None:
    noise = textures.spectral_noise(np.random.default_rng(0), (128, 128), exponent=exponent)
    power = np.abs(np.fft.fft2(noise)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    rings = [(0.02, 0.04), (0.04, 0.08), (0.08, 0.16), (0.16, 0.32)]
    means = [np.log(power[(radius >= low) & (radius < high)].mean()) for low, high in rings]
    middles = [np.log((low + high) / 2) for low, high in rings]
    assert np.polyfit(middles, means, 1)[0] == pytest.approx(-2 * exponent, abs=0.3)


def test_a_grating_repeats_after_its_period() -> None:
    wave = textures.grating((40, 80), period_px=16)
    assert np.allclose(wave[:, :64], wave[:, 16:], atol=1e-3) and np.allclose(wave[0], wave[-1])


@pytest.mark.parametrize("shape", textures.LATTICES)
def test_a_lattice_repeats_both_ways(shape: str) -> None:
    grid = textures.lattice((60, 60), period_px=10, shape=shape)
    assert np.allclose(grid[:50], grid[10:], atol=1e-2) and np.allclose(grid[:, :50], grid[:, 10:], atol=1e-2)
    with pytest.raises(ValueError, match="stars"):
        textures.lattice((8, 8), period_px=4, shape="stars")


def test_octave_noise_is_smooth_at_its_cell() -> None:
    noise = textures.octave_noise(np.random.default_rng(1), (200, 300), cell_px=20, octaves=1)
    near = np.corrcoef(noise[:, :-2].ravel(), noise[:, 2:].ravel())[0, 1]
    far = np.corrcoef(noise[:, :-60].ravel(), noise[:, 60:].ravel())[0, 1]
    assert near > 0.95 and abs(far) < 0.3 and 0.7 < noise.std() < 1.4


def test_a_warp_of_nothing_changes_nothing() -> None:
    picture = textures.dead_leaves(np.random.default_rng(2), (50, 70), radius_px=(3, 20))
    same = textures.warped(np.random.default_rng(3), picture, amplitude_px=0.0, cell_px=10)
    assert np.array_equal(same, picture)
    moved = textures.warped(np.random.default_rng(3), picture, amplitude_px=4.0, cell_px=10)
    assert not np.array_equal(moved, picture) and moved.shape == picture.shape


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(16, 90), width=st.integers(16, 90))
def test_random_textures_are_pictures_and_follow_their_seed(seed: int, height: int, width: int) -> None:
    first, again = (textures.random_texture(np.random.default_rng(seed), (height, width)) for _ in range(2))
    assert first.shape == (height, width, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(defects.PAINTERS)))
def test_painted_defects_stay_in_their_mask_and_where_they_may(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.full((60, 80, 3), 110, np.uint8)
    where = np.zeros((60, 80), bool)
    where[10:50, 15:65] = True
    before = pixels.copy()
    marked = defects.PAINTERS[name](pixels, rng, wish=defects.Wish(120, 30, where))
    assert np.array_equal(pixels, before)
    changed = (marked.pixels != pixels).any(2)
    assert not (changed & ~marked.mask).any() and not (marked.mask & ~where).any()
    if marked.mask.any():
        change = np.abs(marked.pixels[marked.mask].astype(float) - 110).mean()
        assert change == pytest.approx(30, rel=0.25)  # clipping at black and white may cost some


def test_a_blend_covers_the_wished_area() -> None:
    rng = np.random.default_rng(4)
    pixels = np.full((64, 64, 3), 90, np.uint8)
    texture = textures.random_texture(rng, (64, 64))
    marked = defects.blended(pixels, rng, wish=defects.Wish(300, 1), texture=texture)
    assert abs(int(marked.mask.sum()) - 300) < 30
    assert np.array_equal(marked.pixels[~marked.mask], pixels[~marked.mask])


def test_wishes_are_checked() -> None:
    with pytest.raises(ValueError, match="positive"):
        defects.Wish(0, 10)
    with pytest.raises(ValueError, match="pixel"):
        defects.Wish(5, 10, np.zeros((4, 4), bool))
