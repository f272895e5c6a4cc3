"""Textures from a generator: noise with a chosen spectrum, gratings, lattices, dead leaves, warps and colour.

Grey textures are float32 (H, W) with mean near 0 and standard deviation near 1, so that a caller scales
them in grey levels; `coloured` and `random_texture` give uint8 RGB. Dead leaves: Lee, Mumford and Huang
2001; as a source of pretraining: Baradad et al. 2021, "Learning to See by Looking at Noise".
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

Size = tuple[int, int]

LATTICES = ("dots", "mesh", "checks")


def spectral_noise(
    rng: Generator, size_hw: Size, *, exponent: float = 1.0, stretch: float = 1.0, angle: float = 0.0
) -> np.ndarray:
    """Return noise whose amplitude falls with frequency to the power of `-exponent`.

    0 is white, 1 is that of natural images, 2 is cloudy. `stretch` above 1 draws it out along `angle`
    (radians, clockwise from the x axis), as brushed metal is.
    """
    height, width = size_hw
    down = np.fft.fftfreq(height)[:, None].astype(np.float32)
    across = np.fft.rfftfreq(width)[None, :].astype(np.float32)
    along = np.cos(angle) * across + np.sin(angle) * down
    aside = np.cos(angle) * down - np.sin(angle) * across
    frequency = np.sqrt((along * stretch) ** 2 + (aside / stretch) ** 2)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal(size_hw, dtype=np.float32))
    spectrum *= frequency**-exponent
    spectrum[0, 0] = 0
    return standardised(np.fft.irfft2(spectrum, s=size_hw))


def octave_noise(
    rng: Generator, size_hw: Size, *, cell_px: float, octaves: int = 3, gain: float = 0.5
) -> np.ndarray:
    """Return smooth noise with features of about `cell_px` and finer layers, each `gain` as strong.

    Several times faster than `spectral_noise`; its standard deviation is about 1 before the finer layers.
    """
    total = np.zeros(size_hw, np.float32)
    weight, cell = 1.0, max(cell_px, 1.0)
    height, width = size_hw
    for _ in range(octaves):
        rows, columns = int(height / cell) + 2, int(width / cell) + 2
        coarse = rng.standard_normal((rows, columns), dtype=np.float32) * (1.4 * weight)
        size_wh = (int(columns * cell) + 1, int(rows * cell) + 1)
        top, left = (rng.random(2) * cell).astype(int)
        fine = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)
        total += fine[top : top + height, left : left + width]
        weight, cell = weight * gain, cell / 2
        if cell < 1:
            break
    return total


def perlin_noise(rng: Generator, size_hw: Size, *, cells_hw: Size) -> np.ndarray:
    """Return gradient noise with so many cells along each side, about -1 to 1 (Perlin 1985, with the fade of
    2002): random slopes at the corners of the cells, smoothly joined in between."""
    angles = rng.uniform(0, 2 * np.pi, (cells_hw[0] + 1, cells_hw[1] + 1)).astype(np.float32)
    slopes = np.stack([np.sin(angles), np.cos(angles)])  # (2, corners down, corners across)
    places = [
        ((np.arange(side) + 0.5) * cells / side).astype(np.float32)
        for side, cells in zip(size_hw, cells_hw, strict=True)
    ]
    corners = [np.floor(place).astype(int) for place in places]
    down, across = (place - corner for place, corner in zip(places, corners, strict=True))
    total = np.zeros(size_hw, np.float32)
    for row in (0, 1):
        for column in (0, 1):
            slope = slopes[:, corners[0][:, None] + row, corners[1][None, :] + column]
            rise = slope[0] * (down - row)[:, None] + slope[1] * (across - column)[None, :]
            total += _fade(1 - np.abs(down - row))[:, None] * _fade(1 - np.abs(across - column)) * rise
    return np.asarray(total * np.float32(np.sqrt(2)))


def grating(
    size_hw: Size, *, period_px: float, angle: float = 0.0, phase: float = 0.0, sharpness: float = 0.0
) -> np.ndarray:
    """Return stripes across `angle` (radians); `sharpness` 0 is a sine, towards 1 a square wave."""
    across = _along(size_hw, angle) * np.float32(2 * np.pi / period_px)
    wave = np.sin(across + np.float32(phase))
    if sharpness > 0:
        wave = np.tanh(wave * (1 / (1.001 - min(sharpness, 1.0))))
    return standardised(wave)


def lattice(size_hw: Size, *, period_px: float, angle: float = 0.0, shape: str = "dots") -> np.ndarray:
    """Return a periodic pattern: `dots`, `mesh` or `checks`. Raises ValueError for other shapes."""
    scale = np.float32(2 * np.pi / period_px)
    first = np.cos(_along(size_hw, angle) * scale)
    second = np.cos(_along(size_hw, angle + np.pi / 2) * scale)
    if shape == "dots":
        return standardised(np.exp(2 * (first + second) - 4))
    if shape == "mesh":
        return standardised(np.maximum(first, second) ** 5)
    if shape == "checks":
        return standardised(np.tanh(8 * first * second))
    raise ValueError(f"a lattice is one of {', '.join(LATTICES)}, not {shape!r}")


def dead_leaves(
    rng: Generator, size_hw: Size, *, radius_px: tuple[float, float], count: int = 400
) -> np.ndarray:
    """Return discs and polygons that hide one another, radii by a power law of exponent -3, uint8 RGB."""
    height, width = size_hw
    low, high = radius_px
    uniform = rng.random(count)
    radii = low / np.sqrt(1 - uniform * (1 - (low / high) ** 2))  # inverse of the cumulated power law
    centres = rng.random((count, 2)) * (width, height)
    colours = palette(rng, 12)[rng.integers(0, 12, count)]
    colours = np.clip(colours + rng.normal(0, 12, (count, 3)), 0, 255)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = colours[0].astype(np.uint8)
    sides = rng.integers(3, 8, count)
    round_ones = rng.random(count) < 0.4
    for index in range(count):
        colour = colours[index].tolist()
        if round_ones[index]:
            centre = np.round(centres[index] * 16).astype(int)
            cv2.circle(picture, centre.tolist(), int(radii[index] * 16), colour, -1, cv2.LINE_AA, 4)
        else:
            turns = np.sort(rng.random(sides[index])) * 2 * np.pi
            corners = centres[index] + radii[index] * np.stack([np.cos(turns), np.sin(turns)], 1)
            cv2.fillPoly(picture, [np.round(corners * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return picture


def warped(rng: Generator, pixels: np.ndarray, *, amplitude_px: float, cell_px: float) -> np.ndarray:
    """Return `pixels` (H, W) or (H, W, 3) pulled about smoothly by about `amplitude_px`."""
    height, width = pixels.shape[:2]
    moves = [octave_noise(rng, (height, width), cell_px=cell_px, octaves=1) * amplitude_px for _ in range(2)]
    columns = np.arange(width, dtype=np.float32)[None, :] + moves[0]
    rows = np.arange(height, dtype=np.float32)[:, None] + moves[1]
    pulled = cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(pulled)


def palette(rng: Generator, count: int) -> np.ndarray:
    """Return `count` colours, float32 (count, 3) RGB in 0..255, of up to three hues and mostly pale."""
    hues = (rng.random(3) * 180)[rng.integers(0, 3, count)] + rng.normal(0, 6, count)
    saturation = np.clip(rng.beta(1.4, 2.6, count) * 255, 0, 255)
    value = np.clip(rng.random(count) * 215 + 30, 0, 255)
    hsv = np.stack([hues % 180, saturation, value], 1).astype(np.uint8)[None]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0], np.float32)


def coloured(grey: np.ndarray, low_rgb: np.ndarray, high_rgb: np.ndarray) -> np.ndarray:
    """Return a grey texture (H, W) as uint8 RGB that runs from one colour (at -2) to another (at +2)."""
    share = np.clip(grey * 0.25 + 0.5, 0, 1)[..., None]
    mixed = np.asarray(low_rgb, np.float32) * (1 - share) + np.asarray(high_rgb, np.float32) * share
    return np.round(mixed).astype(np.uint8)


def random_texture(rng: Generator, size_hw: Size) -> np.ndarray:
    """Return one texture of any kind of this module, uint8 RGB."""
    side = min(size_hw)
    if rng.random() < 0.25:
        leaves = dead_leaves(rng, size_hw, radius_px=(max(1.5, side / 60), side / 3))
        return leaves if rng.random() < 0.5 else _bent(rng, leaves)
    makers: tuple[Callable[[], np.ndarray], ...] = (
        lambda: spectral_noise(
            rng,
            size_hw,
            exponent=rng.uniform(0.3, 1.8),
            stretch=rng.uniform(1, 3),
            angle=rng.uniform(0, np.pi),
        ),
        lambda: octave_noise(
            rng, size_hw, cell_px=side * rng.uniform(0.03, 0.3), octaves=4, gain=rng.uniform(0.3, 0.8)
        ),
        lambda: grating(
            size_hw,
            period_px=rng.uniform(3, max(4, side / 4)),
            angle=rng.uniform(0, np.pi),
            phase=rng.uniform(0, 6.3),
            sharpness=rng.random(),
        ),
        lambda: lattice(
            size_hw,
            period_px=rng.uniform(4, max(5, side / 4)),
            angle=rng.uniform(0, np.pi),
            shape=LATTICES[rng.integers(3)],
        ),
    )
    grey = makers[rng.integers(len(makers))]()
    if rng.random() < 0.4:
        grey = grey + makers[rng.integers(len(makers))]() * np.float32(rng.uniform(0.2, 0.8))
    low, high = palette(rng, 2)
    picture = coloured(grey, low, high)
    return picture if rng.random() < 0.5 else _bent(rng, picture)


def standardised(grey: np.ndarray) -> np.ndarray:
    """Return `grey` as float32 with mean 0 and standard deviation 1 (a constant becomes zeros)."""
    centred = grey - grey.mean()
    spread = float(centred.std())
    return np.asarray(centred / spread if spread > 1e-9 else centred * 0, np.float32)


def _fade(share: np.ndarray) -> np.ndarray:
    """Return a step from 0 to 1 whose slope and bend are 0 at both ends."""
    return np.asarray(share**3 * (share * (share * 6 - 15) + 10))


def _along(size_hw: Size, angle: float) -> np.ndarray:
    height, width = size_hw
    columns = np.arange(width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    return np.asarray(columns + rows)


def _bent(rng: Generator, picture: np.ndarray) -> np.ndarray:
    side = min(picture.shape[:2])
    return warped(
        rng,
        picture,
        amplitude_px=side * rng.uniform(0.01, 0.06),
        cell_px=max(2.0, side * rng.uniform(0.1, 0.4)),
    )
