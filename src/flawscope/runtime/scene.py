"""What the scene looked like while teaching: brightness and contrast, so that a dark or empty picture is not
judged.

A camera with its cap on, a lamp that failed or a glare over everything give pictures on which no method was
taught; a verdict on them would be a guess. Far outside what was seen they are NOT JUDGED; somewhat outside,
the verdict comes with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.types import Area, Array, Json

_STEP = 4  # every fourth pixel along each side is looked at
_FAR = 0.4  # of the distance to black, white or flatness that is left before a picture is refused
_NEAR = 0.8
_TRIMMED = 0.02  # of the taught pictures, at either end
_ENOUGH_TO_TRIM = 10


@dataclass(frozen=True)
class Look:
    """Brightness (mean) and contrast (deviation) of a picture, in grey levels of 0 to 255."""

    brightness: float
    contrast: float


@dataclass(frozen=True)
class Scene:
    """The range of looks seen in teaching, without the outermost fiftieth at either end: one black picture
    among the taught must not make black pictures usual."""

    darkest: float
    brightest: float
    flattest: float  # the least contrast
    images: int

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Scene:
        """Gather the looks of the pictures that were taught; at least one."""
        brightness = sorted(look.brightness for look in looks)
        contrast = sorted(look.contrast for look in looks)
        trimmed = math.ceil(len(looks) * _TRIMMED) if len(looks) >= _ENOUGH_TO_TRIM else 0
        return cls(
            darkest=brightness[trimmed],
            brightest=brightness[-1 - trimmed],
            flattest=contrast[trimmed],
            images=len(looks),
        )

    def check(self, look: Look, *, name: str) -> tuple[str, ...]:
        """Return warnings about a picture. Raises ImageError (`too_dark`, `too_bright`, `featureless`) for
        one that is far outside what was taught."""
        seen = f"{self.darkest:.0f} to {self.brightest:.0f} of 255 in the {self.images} pictures taught"
        left = 255 - self.brightest
        if look.brightness < _FAR * self.darkest:
            raise _refusal(name, "too dark", f"a brightness of {look.brightness:.0f}", seen, "too_dark")
        if 255 - look.brightness < _FAR * left:
            raise _refusal(name, "too bright", f"a brightness of {look.brightness:.0f}", seen, "too_bright")
        if look.contrast < _FAR * self.flattest:
            lowest = f"a contrast of at least {self.flattest:.0f} grey levels, as in teaching"
            raise _refusal(name, "featureless", f"a contrast of {look.contrast:.1f}", lowest, "featureless")
        if look.brightness < _NEAR * self.darkest:
            return (f"Darker ({look.brightness:.0f}) than anything taught: {seen}.",)
        if 255 - look.brightness < _NEAR * left:
            return (f"Brighter ({look.brightness:.0f}) than anything taught: {seen}.",)
        return ()

    def to_json(self) -> Json:
        """Return the scene as JSON."""
        return {
            "darkest": self.darkest,
            "brightest": self.brightest,
            "flattest": self.flattest,
            "images": self.images,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scene:
        """Read what `to_json` wrote."""
        return cls(
            float(values["darkest"]),
            float(values["brightest"]),
            float(values["flattest"]),
            int(values["images"]),
        )


def look_of(pixels: Array, area: Area | None = None) -> Look:
    """Return the look of an image uint8 (H, W, 3), from a sixteenth of its pixels where it is large enough.
    With an area, what it does not judge is not looked at."""
    step = _STEP if min(pixels.shape[:2]) >= 8 * _STEP else 1
    if max(pixels.shape[:2]) > 2048:
        step *= 4
    sample = pixels[::step, ::step].reshape(-1, 3)
    if area is not None:
        shown = _judged(area, pixels.shape[:2], step)
        if not shown.any() and step > 1:  # a narrow area can slip through the grid
            sample, shown = pixels.reshape(-1, 3), _judged(area, pixels.shape[:2], 1)
        sample = sample[shown.ravel()] if shown.any() else np.zeros((1, 3), np.uint8)
    sample = sample.astype(np.float32)
    return Look(float(sample.mean()), float(sample.mean(1).std()))


def _judged(area: Area, size_hw: tuple[int, ...], step: int) -> Array:
    """Return which pixels of the grid of every `step`-th one are judged, bool (h, w), by the rule of the
    canvases: a pixel belongs to the cell in which its centre lies."""
    cells = area.judged.shape
    rows = (2 * np.arange(0, size_hw[0], step) + 1) * cells[0] // (2 * size_hw[0])
    columns = (2 * np.arange(0, size_hw[1], step) + 1) * cells[1] // (2 * size_hw[1])
    return np.asarray(area.judged[np.ix_(rows, columns)])


def _refusal(name: str, what: str, found: str, expected: str, code: str) -> ImageError:
    return ImageError(
        f"{name} is {what} to be judged",
        expected=expected,
        found=found,
        remedy="Check light and camera",
        code=code,
    )
