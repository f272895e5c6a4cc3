"""Defects of any surface for pretraining: a shape times a change, from hardly visible to strong.

Unlike `defects`, which paints the named defects of the chips, these are abstract and quick: the shape says
where (spots, pits, scratches, cracks, bites, bands, broad areas), the change what becomes of the surface
there (another material, a tone, a smear, roughness, relief). `difficulty` 0 draws large and strong ones only,
1 down to a few pixels and a fraction of the surface's own contrast.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth.materials import log_uniform
from flawscope.synth.textures import octave_noise

Shape = Callable[[Generator, int, float], np.ndarray]


def spot(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return an irregular patch."""
    coarse = rng.standard_normal((int(rng.integers(3, 9)),) * 2, dtype=np.float32)
    rough = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    reach = log_uniform(rng, least, 0.4) * side
    across, down = _turned_grid(rng, side)
    far = np.sqrt(across**2 + (down / rng.uniform(0.3, 1)) ** 2) / reach
    return np.asarray(far + 0.35 * rough < 1)


def pits(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return a few small round holes close to one another."""
    shape = np.zeros((side, side), np.uint8)
    middle = rng.uniform(0.15, 0.85, 2) * side
    for _ in range(int(rng.integers(1, 7))):
        place = middle + rng.normal(0, 0.06 * side, 2)
        reach = max(0.9, side * log_uniform(rng, least * 0.4, least * 1.6))
        fixed = np.round(place * 16).astype(int).tolist()
        cv2.circle(shape, fixed, int(reach * 16), 1, -1, cv2.LINE_8, 4)
    return shape > 0


def scratch(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return one to three bent lines."""
    shape = np.zeros((side, side), np.uint8)
    start, angle = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0, 6.28)
    width = max(1, round(log_uniform(rng, 1, 1 + 30 * least)))
    bend = rng.normal(0, 0.15)
    for number in range(int(rng.choice([1, 1, 1, 2, 3]))):
        turns = angle + np.cumsum(rng.normal(bend / 3, 0.08, 12))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * side * log_uniform(rng, 0.015, 0.09)
        aside = np.array([-np.sin(angle), np.cos(angle)]) * number * rng.uniform(2, 6) * width
        line = start + aside + np.cumsum(steps, 0)
        cv2.polylines(shape, [np.round(line).astype(np.int32)], False, 1, width)
    return shape > 0


def crack(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return a jagged line that branches."""
    shape = np.zeros((side, side), np.uint8)
    width = 1 if rng.random() < 0.7 else 2
    start, angle = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0, 6.28)
    for branch in range(int(rng.integers(1, 5))):
        turns = angle + rng.normal(0, 0.5, int(rng.integers(4, 14)))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * side * rng.uniform(0.02, 0.06)
        line = np.concatenate([start[None], start + np.cumsum(steps, 0)])
        cv2.polylines(shape, [np.round(line).astype(np.int32)], False, 1, width if branch == 0 else 1)
        start = line[rng.integers(len(line))]
        angle += rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
    return shape > 0


def bite(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return a patch with straight, broken borders."""
    turns = np.sort(rng.uniform(0, 6.28, int(rng.integers(4, 10))))
    reach = side * log_uniform(rng, least, 0.2) * rng.uniform(0.4, 1.3, len(turns))
    corners = rng.uniform(0.05, 0.95, 2) * side + np.stack([np.cos(turns), np.sin(turns)], 1) * reach[:, None]
    shape = np.zeros((side, side), np.uint8)
    cv2.fillPoly(shape, [np.round(corners).astype(np.int32)], 1)
    return shape > 0


def band(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return a strip across the picture, or all that lies beyond a line."""
    across, _ = _turned_grid(rng, side)
    width = side * log_uniform(rng, least, 0.3)
    return np.abs(across) < width if rng.random() < 0.7 else across > side * rng.uniform(0.1, 0.35)


def uneven(rng: Generator, side: int, least: float) -> np.ndarray:
    """Return broad, ragged areas, as uneven wear and grinding leave them; `least` does not matter."""
    field = octave_noise(rng, (side, side), cell_px=side * rng.uniform(0.15, 0.5), octaves=2)
    return np.asarray(field > np.quantile(field, 1 - log_uniform(rng, 0.05, 0.4)))


SHAPES: tuple[Shape, ...] = (
    *(spot, spot, spot, pits, pits, scratch, scratch, crack, crack, bite, band, uneven, uneven),
)


def blemished(
    rng: Generator, scene: np.ndarray, other: np.ndarray, *, difficulty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a scene float32 (side, side, 3) with a defect, and which pixels visibly changed, bool.

    `other` is a scene of another material, of the same shape. The mask may be empty where nothing shows.
    """
    side = scene.shape[0]
    least = 0.09 - 0.07 * difficulty  # radius as a share of the side
    shape = SHAPES[rng.integers(len(SHAPES))](rng, side, least)
    softness = log_uniform(rng, 0.3, 1.6)
    if shape.mean() > 0.03 and rng.random() < 0.5:  # broad ones may end softly, as stains and uneven wear do
        softness = log_uniform(rng, 1.6, 0.07 * side)
    soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), softness)
    if rng.random() < 0.5 and soft.max() > 0:
        soft /= soft.max()  # thin lines keep their strength
    spread = float(scene.std()) * 0.7 + 0.025
    weak = log_uniform(rng, 1.4 - 0.9 * difficulty, 4.0)
    changed = _changed(rng, scene, other, soft, spread * weak)
    out = scene + (changed - scene) * soft[..., None]
    difference = np.abs(out - scene).mean(2)
    seen = difference > max(0.25 * float(difference.max()), 0.012 + 0.15 * spread)
    return out.astype(np.float32), seen


def _changed(
    rng: Generator, scene: np.ndarray, other: np.ndarray, soft: np.ndarray, strength: float
) -> np.ndarray:
    """Return what the whole scene would become under the defect."""
    side = scene.shape[0]
    sign = rng.choice([-1.0, -1.0, 1.0])
    kind = rng.integers(9)
    if kind == 0:
        return other
    if kind == 1 or kind == 2:
        tint = 1 + rng.normal(0, 0.15, 3) if rng.random() < 0.4 else np.ones(3)
        return np.asarray(scene + (sign * strength * tint).astype(np.float32))
    if kind == 3:
        tone = rng.uniform(0, 1, 3) if rng.random() < 0.4 else np.full(3, rng.uniform(0, 1))
        keep = np.float32(rng.uniform(0, 0.5))
        return np.asarray(tone.astype(np.float32) * (1 - keep) + scene * keep)
    if kind == 4:
        turned = np.rot90(scene, int(rng.integers(1, 4)))
        return np.roll(turned, tuple(rng.integers(4, side // 2, 2).tolist()), (0, 1))
    if kind == 5:
        return np.asarray(cv2.GaussianBlur(scene, (0, 0), rng.uniform(1.5, 6)))
    if kind == 6:
        rough = rng.standard_normal((side, side, 1), dtype=np.float32)
        rough = cv2.GaussianBlur(rough, (0, 0), log_uniform(rng, 0.3, 2))
        return np.asarray(scene + (rough / (rough.std() + 1e-6) * np.float32(strength))[:, :, None])
    if kind == 7:
        middle = scene.mean((0, 1))
        factor = rng.uniform(-1, 0.2) if rng.random() < 0.5 else rng.uniform(1.8, 3)
        return np.asarray((scene - middle) * np.float32(factor) + middle)
    light = rng.uniform(0, 6.28)  # relief: a dent or a bump, one flank lit and one in shade
    relief = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.8, 2.5))
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0) * np.cos(light)
    slope = slope + cv2.Sobel(relief, cv2.CV_32F, 0, 1) * np.sin(light)
    slope = slope / (float(np.abs(slope).max()) + 1e-6)
    return np.asarray(scene + (slope * np.float32(1.5 * strength))[..., None])


def _turned_grid(rng: Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates around a random place along a random direction and across it, in pixels."""
    line = np.arange(side, dtype=np.float32)
    down = line[:, None] - np.float32(rng.uniform(0.1, 0.9) * side)
    across = line[None] - np.float32(rng.uniform(0.1, 0.9) * side)
    angle = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return across * cosine + down * sine, down * cosine - across * sine
