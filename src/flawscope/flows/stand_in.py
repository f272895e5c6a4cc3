"""What takes the place of removed pixels when explanations are measured by deletion and insertion.

It has to say nothing by itself: best the same photograph blurred, so that only small places are gone. But
to a method that learnt what good parts look like, a blurred picture may be a flaw; then it is a good
photograph, brought to the mean and spread of the one whose pixels are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Array, Image, Sample
from flawscope.methods.features import evenly
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.reading import read_ahead

_BLURS = (1 / 8, 1 / 16, 1 / 32)  # of the longer side: deviations that leave little of small places
_LOOKED_AT = 10  # good photographs, by which the bundle says what it finds least odd


@dataclass(frozen=True, eq=False)
class StandIn:
    """A blur, as a share of the longer side, or a good photograph uint8 (H, W, 3)."""

    blur_share: float
    good: Array | None = None

    def __call__(self, pixels: Array) -> Array:
        """Return what takes the place of a photograph's pixels, uint8 (H, W, 3), of the same size."""
        if self.good is None:
            return blur(pixels, self.blur_share)
        return like(self.good, pixels)

    @property
    def words(self) -> str:
        """Say what it is."""
        if self.good is None:
            return f"the photograph blurred by 1/{round(1 / self.blur_share)} of its longer side"
        return "a good photograph, for a blurred one is a flaw to this bundle"


def stand_in(inspector: Inspector, good: Sequence[Sample]) -> StandIn:
    """Return the blur that makes good photographs least odd, or the most usual of these photographs where the
    bundle finds them odder, blurred, than any good part that calibrates."""
    usual = float(np.median(inspector.calibration.scores))
    blurred: dict[float, list[float]] = {one: [] for one in _BLURS}
    nearest, best = np.inf, None
    few = [good[i] for i in evenly(len(good), most=_LOOKED_AT)]
    for loaded in read_ahead([sample.path for sample in few], inspector.scorer.preprocess):
        if loaded.image is None:
            continue
        pixels = loaded.image.pixels
        for one in _BLURS:
            blurred[one].append(inspector.scorer(Image(blur(pixels, one)))[0].score)
        away = abs(inspector.scorer(loaded.image)[0].score - usual)
        if away < nearest:
            nearest, best = away, pixels
    if best is None:
        return StandIn(_BLURS[0])
    calmest = min(_BLURS, key=lambda one: float(np.median(blurred[one])))
    if float(np.median(blurred[calmest])) <= float(inspector.calibration.scores.max()):
        return StandIn(calmest)
    return StandIn(calmest, best)


def blur(pixels: Array, share: float) -> Array:
    """Return a picture blurred with a deviation of `share` of its longer side."""
    sigma = max(pixels.shape[:2]) * share
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def like(good: Array, pixels: Array) -> Array:
    """Return a good photograph at the size of another, with its mean and spread in each channel."""
    fitted = cv2.resize(good, pixels.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    mean, spread = cv2.meanStdDev(pixels)
    own_mean, own_spread = cv2.meanStdDev(fitted)
    gain = np.where(own_spread > 0, spread / np.maximum(own_spread, 1e-6), 1.0)
    found = (fitted - own_mean.T) * gain.T + mean.T
    return np.asarray(np.clip(np.rint(found), 0, 255).astype(np.uint8))
