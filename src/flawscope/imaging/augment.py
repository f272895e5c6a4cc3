"""Variations of a photograph for teaching: other light, a small shift and, where allowed, a flip.

They are small on purpose. A part is photographed again and again by the same camera under the same lamp; what
varies is a little light and place. Strong crops, turns and colours, as they serve for holiday pictures, would
hide or invent flaws here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

FLIPS = ("none", "horizontal", "vertical", "both")


@dataclass(frozen=True)
class Augmentation:
    """How far variations go."""

    flips: str = "none"  # one of FLIPS: which ones may happen, each in half of the variations
    light: float = 0.1  # brightness and contrast change by up to this share, 0 to 1
    shift: float = 0.02  # of each side, 0 to 0.5

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise ValueError(f"flips is one of {', '.join(FLIPS)}, not {self.flips!r}")
        if not (0 <= self.light <= 1 and 0 <= self.shift <= 0.5):
            raise ValueError(f"light is 0 to 1 and shift 0 to 0.5, not {self.light:g} and {self.shift:g}")


def vary(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return a variation of a photograph uint8 (H, W, 3), of the same shape; the photograph stays as it is.

    Contrast changes around the picture's mean, then brightness as a whole; a shift mirrors the picture at
    its border. As many numbers are drawn from `rng` whatever the settings, so that switching one of them off
    leaves the others' draws as they were.
    """
    height, width = pixels.shape[:2]
    mirrored, upside_down = rng.random(2) < 0.5
    brightness, contrast = 1 + augmentation.light * rng.uniform(-1, 1, 2)
    down, across = np.rint(rng.uniform(-1, 1, 2) * augmentation.shift * (height, width)).astype(int)
    varied = pixels
    if mirrored and augmentation.flips in ("horizontal", "both"):
        varied = varied[:, ::-1]
    if upside_down and augmentation.flips in ("vertical", "both"):
        varied = varied[::-1]
    if down or across:
        varied = _shifted(varied, int(down), int(across))
    if augmentation.light > 0:
        middle = float(pixels.mean())
        scale = brightness * contrast
        table = np.arange(256) * scale + middle * (brightness - scale)  # contrast around the mean
        varied = np.clip(np.rint(table), 0, 255).astype(np.uint8)[varied]
    return np.array(varied, np.uint8, order="C")  # a copy of its own, in rows


def _shifted(pixels: np.ndarray, down: int, across: int) -> np.ndarray:
    """Move a picture by whole pixels; what comes in is its own reflection."""
    height, width = pixels.shape[:2]
    if abs(down) >= height or abs(across) >= width:
        raise ValueError(f"a picture of {width}x{height} px cannot move by {across}, {down}")
    pad_y, pad_x = abs(down), abs(across)
    mirrored = cv2.copyMakeBorder(
        np.ascontiguousarray(pixels), pad_y, pad_y, pad_x, pad_x, cv2.BORDER_REFLECT
    )
    top, left = pad_y - down, pad_x - across
    return np.asarray(mirrored[top : top + height, left : left + width])
