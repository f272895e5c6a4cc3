"""Materials for pretraining: surfaces of many kinds, float32 RGB about 0..1, from a generator.

Grey layers have mean 0 and standard deviation 1 and are mixed, bent and coloured. They are chosen for speed:
an episode of pretraining has a few hundredths of a second to be drawn. Dead leaves and spectral noise: see
`textures`; cells are Worley's (1996), by a distance transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth.textures import octave_noise, standardised

Layer = Callable[[Generator, int], np.ndarray]


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Return a number between `low` and `high`, uniform on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def power_noise(rng: Generator, side: int) -> np.ndarray:
    """Return noise with a power law or a band as its spectrum, drawn out along a direction half the time."""
    angle = rng.uniform(0, np.pi)
    stretch = log_uniform(rng, 1, 9) if rng.random() < 0.5 else 1.0
    down = np.fft.fftfreq(side).astype(np.float32)[:, None]
    across = np.fft.rfftfreq(side).astype(np.float32)[None]
    along = across * np.cos(angle) + down * np.sin(angle)
    aside = (down * np.cos(angle) - across * np.sin(angle)) * stretch
    frequency = np.sqrt(along * along + aside * aside)
    frequency[0, 0] = 1
    if rng.random() < 0.35:
        centre = log_uniform(rng, 0.02, 0.3)
        amplitude = np.exp(-(((frequency - centre) / (centre * rng.uniform(0.1, 0.6))) ** 2))
    else:
        amplitude = frequency ** -rng.uniform(0.3, 2.6)
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32)) * amplitude
    return standardised(np.fft.irfft2(spectrum, s=(side, side)))


def clouds(rng: Generator, side: int) -> np.ndarray:
    """Return smooth noise in octaves."""
    cell = log_uniform(rng, 3, 50)
    return standardised(octave_noise(rng, (side, side), cell_px=cell, octaves=4, gain=rng.uniform(0.3, 0.9)))


def stripes(rng: Generator, side: int) -> np.ndarray:
    """Return one to three gratings laid over one another, soft or sharp."""
    down, across = _grid(side)
    total = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(1, 4)):
        angle, period = rng.uniform(0, np.pi), log_uniform(rng, 4, 60)
        turn = np.float32(2 * np.pi / period)
        wave = np.sin(across * (np.cos(angle) * turn) + down * (np.sin(angle) * turn) + rng.uniform(0, 6.28))
        if rng.random() < 0.5:
            wave = np.sign(wave - rng.uniform(-0.7, 0.7))
        total += wave * np.float32(rng.uniform(0.3, 1))
    return standardised(total)


def stamped(rng: Generator, side: int) -> np.ndarray:
    """Return a lattice of one stamped shape, its rows offset as bricks are at times."""
    cell = int(log_uniform(rng, 8, 52))
    stamp = _stamp(rng, cell)
    count = side // cell + 2
    tiled = np.tile(stamp, (count, count))
    if rng.random() < 0.3:
        for row in range(1, count, 2):
            tiled[row * cell : (row + 1) * cell] = np.roll(tiled[row * cell : (row + 1) * cell], cell // 2, 1)
    return standardised(tiled[:side, :side] + 1e-3 * rng.standard_normal((side, side), dtype=np.float32))


def leaves(rng: Generator, side: int) -> np.ndarray:
    """Return discs, ellipses or polygons of one rough size that hide one another."""
    picture = np.full((side, side), 0.5, np.float32)
    reach = log_uniform(rng, 3, 30)
    kind = rng.integers(3)
    count = int(min(700, 0.8 * side * side / (reach * reach)))
    centres = rng.uniform(0, side, (count, 2))
    sizes, tones = reach * rng.uniform(0.5, 1.5, count), rng.random(count)
    for centre, size, tone in zip(centres, sizes, tones.tolist(), strict=True):
        if kind == 2:
            turns = np.sort(rng.uniform(0, 6.28, int(rng.integers(3, 7))))
            corners = centre + size * np.stack([np.cos(turns), np.sin(turns)], 1)
            cv2.fillPoly(picture, [corners.astype(np.int32)], tone)
            continue
        axes = (max(1, int(size)), max(1, int(size * (1 if kind == 0 else rng.uniform(0.2, 0.9)))))
        cv2.ellipse(picture, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, tone, -1)
    return standardised(picture)


def cells(rng: Generator, side: int) -> np.ndarray:
    """Return cells around scattered points: their distance, their borders or a tone of their own each."""
    count = int(np.clip(side * side / log_uniform(rng, 6, 40) ** 2, 8, 1500))
    seeds = np.full((side, side), 255, np.uint8)
    places = rng.integers(0, side, (count, 2))
    seeds[places[:, 0], places[:, 1]] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL
    )
    kind = rng.integers(3)
    if kind == 0:
        return standardised(distance)
    if kind == 1:
        borders = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        return standardised(cv2.GaussianBlur((borders > 0).astype(np.float32), (0, 0), rng.uniform(0.5, 1.5)))
    return standardised(rng.random(count + 2).astype(np.float32)[labels])


def brushed(rng: Generator, side: int) -> np.ndarray:
    """Return fine parallel lines of random strength, as grinding and rolling leave them."""
    lines = rng.standard_normal((side, max(1, int(side / log_uniform(rng, 20, 400)) + 1)), dtype=np.float32)
    if rng.random() < 0.6:
        lines = cv2.GaussianBlur(lines, (0, 0), sigmaX=1e-3, sigmaY=rng.uniform(0.4, 3))
    grown = cv2.resize(lines, (side, side), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(0, 180), 1.0)
        grown = cv2.warpAffine(grown, turn, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    return standardised(grown)


def woven(rng: Generator, side: int) -> np.ndarray:
    """Return threads that pass over and under one another."""
    down, across = _grid(side)
    period = np.float32(log_uniform(rng, 5, 30))
    ratio = np.float32(rng.uniform(0.6, 1.6))
    warp, weft = across / period, down / (period * ratio)
    over = (np.floor(warp) + np.floor(weft)) % 2
    profile = np.where(over > 0, np.sin(np.pi * (warp % 1)), np.sin(np.pi * (weft % 1)))
    return standardised(profile + np.float32(rng.uniform(0, 0.6)) * over)


def speckled(rng: Generator, side: int) -> np.ndarray:
    """Return sparse specks on a plain ground."""
    share = log_uniform(rng, 0.003, 0.15)
    specks = (rng.random((side, side), dtype=np.float32) < share).astype(np.float32)
    return standardised(cv2.GaussianBlur(specks, (0, 0), log_uniform(rng, 0.5, 3)))


LAYERS: Sequence[Layer] = (
    *(power_noise, power_noise, clouds, stripes, stamped, leaves, cells, brushed, brushed, woven),
    speckled,
)


def surface(rng: Generator, side: int) -> np.ndarray:
    """Return a grey surface: one layer or two, mixed, bent at times, mean 0 and deviation 1."""
    ground = _bent(rng, _any(rng, side))
    if rng.random() < 0.55:
        other = _bent(rng, _any(rng, side))
        how = rng.integers(3)
        if how == 0:
            ground = ground + np.float32(rng.uniform(0.1, 0.8)) * other
        elif how == 1:
            inlay = _any(rng, side) * np.float32(rng.uniform(0.2, 1)) + np.float32(rng.uniform(-2, 2))
            ground = np.where(other > rng.uniform(-0.5, 1), inlay, ground)
        else:
            ground = ground * (1 + np.float32(0.4) * other)
    return standardised(ground)


def coloured(rng: Generator, grey: np.ndarray, *, grey_share: float = 0.6) -> np.ndarray:
    """Give a grey surface a tone and a contrast, from hardly visible to strong: float32 (H, W, 3)."""
    contrast = log_uniform(rng, 0.008, 0.2)
    capped = np.clip(grey, -3, 3)[..., None]
    if rng.random() < grey_share:
        toned = np.float32(rng.uniform(0.12, 0.85)) + capped * np.float32(contrast)
        return np.repeat(toned, 3, 2)
    base = rng.uniform(0.1, 0.88, 3).astype(np.float32)
    direction = rng.standard_normal(3)
    direction = direction / np.linalg.norm(direction) * 0.5 + 0.5 * rng.choice([-1.0, 1.0])
    return np.asarray(base + capped * (direction * contrast * 1.2).astype(np.float32))


def material(rng: Generator, side: int) -> np.ndarray:
    """Return a surface with its colours, float32 (side, side, 3); a plain one with faint grain at times."""
    if rng.random() < 0.15:
        grain = rng.standard_normal((side, side), dtype=np.float32)
        return coloured(rng, standardised(cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 1.5))))
    return coloured(rng, surface(rng, side))


def _any(rng: Generator, side: int) -> np.ndarray:
    return LAYERS[int(rng.integers(len(LAYERS)))](rng, side)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.arange(side, dtype=np.float32)
    return line[:, None], line[None]


def _stamp(rng: Generator, cell: int) -> np.ndarray:
    stamp = np.zeros((cell, cell), np.float32)
    for _ in range(rng.integers(1, 5)):
        tone = float(rng.uniform(0.2, 1))
        places = rng.integers(0, cell, 4).tolist()
        filled = -1 if rng.random() < 0.6 else 1
        kind = rng.integers(4)
        if kind == 0:
            cv2.circle(stamp, (places[0], places[1]), int(rng.integers(1, max(2, cell // 3))), tone, filled)
        elif kind == 1:
            cv2.rectangle(stamp, (places[0], places[1]), (places[2], places[3]), tone, filled)
        elif kind == 2:
            ends = ((places[0], places[1]), (places[2], places[3]))
            cv2.line(stamp, *ends, tone, int(rng.integers(1, 4)))
        else:
            corners = rng.integers(0, cell, (int(rng.integers(3, 6)), 2)).astype(np.int32)
            cv2.fillPoly(stamp, [corners], tone)
    return stamp


def _bent(rng: Generator, grey: np.ndarray) -> np.ndarray:
    """Pull a layer about smoothly, half the time."""
    if rng.random() < 0.5:
        return grey
    side = grey.shape[0]
    coarse = rng.standard_normal((int(rng.integers(2, 7)),) * 2 + (2,), dtype=np.float32)
    moves = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(rng.uniform(1, 8))
    down, across = _grid(side)
    pulled = cv2.remap(
        grey, across + moves[..., 0], down + moves[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(pulled)
