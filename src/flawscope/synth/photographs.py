"""What a camera makes of a surface: light, lens and sensor, on float32 RGB pictures of about 0..1.

`Conditions` say how unlike one another the photographs of one product are; each photograph draws its own
light within them. None of what is done here is a defect: a network that is to find defects must let it pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth.materials import log_uniform


@dataclass(frozen=True)
class Conditions:
    """How much photographs of one product differ; standard deviations unless said otherwise."""

    gain: float = 0.0  # of the exposure, relative
    offset: float = 0.0  # of the black level
    slope: float = 0.0  # of the light, from one border to the other
    shade: float = 0.0  # strength of broad shadows and reflections
    gamma: float = 0.0
    cast: float = 0.0  # of each channel, relative
    noise: float = 0.0  # of the sensor, of full scale
    blur: float = 0.0  # most, in pixels
    jpeg: int = 0  # least quality; 0: not compressed


def random_conditions(rng: Generator, *, strength: float = 1.0) -> Conditions:
    """Return the conditions of one product: a steady station, or one with changing light; `strength` scales
    the changes of light."""
    unsteady = rng.random() < 0.5
    strength *= rng.uniform(0.3, 1.0) if unsteady else rng.uniform(0.0, 0.25)
    return Conditions(
        gain=0.35 * strength * rng.random(),
        offset=0.06 * strength * rng.random(),
        slope=0.2 * strength * rng.random(),
        shade=0.06 * strength * rng.random(),
        gamma=0.15 * strength * rng.random(),
        cast=0.03 * strength * rng.random(),
        noise=log_uniform(rng, 0.002, 0.04),
        blur=rng.uniform(0.3, 1.4) if rng.random() < 0.4 else 0.0,
        jpeg=int(rng.integers(40, 96)) if rng.random() < 0.3 else 0,
    )


def broad(rng: Generator, size_hw: tuple[int, int], *, cells: int) -> np.ndarray:
    """Return a field that changes over the picture as a whole, deviation about 1: float32 (H, W)."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC))


def photographed(rng: Generator, scene: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Return a photograph of a scene float32 (H, W, 3), as uint8 RGB."""
    height, width = scene.shape[:2]
    down = (np.arange(height, dtype=np.float32) / height - 0.5)[:, None]
    across = (np.arange(width, dtype=np.float32) / width - 0.5)[None]
    slopes = rng.standard_normal(2) * conditions.slope
    light = np.float32(np.exp(conditions.gain * rng.standard_normal()))
    light = light * (1 + down * np.float32(slopes[0]) + across * np.float32(slopes[1]))
    if conditions.shade > 0.01:
        shades = broad(rng, (height, width), cells=int(rng.integers(2, 4)))
        light = light * (1 + np.float32(conditions.shade) * shades)
    casts = (1 + conditions.cast * rng.standard_normal(3)).astype(np.float32)
    lit = scene * (light[..., None] * casts) + np.float32(conditions.offset * rng.standard_normal())
    lit = np.clip(lit, 0, 1)
    if conditions.gamma > 0.02:
        lit = lit ** np.float32(np.exp(conditions.gamma * rng.standard_normal()))
    if conditions.blur > 0:
        lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.2, conditions.blur))
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    if rng.random() < 0.3:
        grain = grain + 0.5 * rng.standard_normal((height, width, 3), dtype=np.float32)
    shot = np.clip(lit + grain * np.float32(conditions.noise), 0, 1)
    pixels = np.round(shot * 255).astype(np.uint8)
    if conditions.jpeg:
        quality = int(rng.integers(conditions.jpeg, 100))
        packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        pixels = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return np.asarray(pixels, np.uint8)
