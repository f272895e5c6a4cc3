"""Measuring one photograph and its mask.

Sharpness is told by the ratio of two neighbouring bands of detail: what a scene shows strongly it shows in
both, while a blur takes the finer one first. So it hardly depends on what is photographed.
"""

from __future__ import annotations

import cv2
import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.types import Array, Image
from flawscope.data.audit.facts import SIDE, Look, MaskLook
from flawscope.imaging.read import read_mask

_WINDOW = 1024  # px of the middle, at most, in which details are measured at full resolution
_FINE, _MIDDLE = 0.7, 1.4  # px, deviations of the blurs between which the bands lie
_FLOOR = 0.05  # grey levels: below is rounding
_GREY_STEP = 2  # levels between colours that still count as grey: JPEG's rounding
_RIM = 0.04  # of each side: what is taken as background where a part lies within the picture
_EVEN_RIM = 6.0  # grey levels of deviation that a background may have
_PART_SHARE = (0.1, 0.95)  # of the picture
_APART = 24.0  # grey levels between part and background


def look_at(image: Image, *, bits: int) -> tuple[Look, Array]:
    """Return how a photograph looks and its small grey picture, uint8 (SIDE, SIDE)."""
    pixels = image.pixels
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    means = np.log(np.asarray(cv2.mean(pixels)[:3]) + 1.0)
    thinned = pixels[:: max(1, pixels.shape[0] // 128), :: max(1, pixels.shape[1] // 128)].astype(np.int16)
    apart = np.abs(thinned - thinned[..., 1:2]).max()
    counts = np.bincount(grey.ravel(), minlength=256)
    look = Look(
        size_hw=image.size_hw,
        bits=bits,
        colour=bool(apart > _GREY_STEP),
        light_log=float(np.log(_median(counts) + 1.0)),
        red_log=float(means[0] - means[1]),
        blue_log=float(means[2] - means[1]),
        sharpness_log=sharpness(grey),
    )
    return look, np.asarray(small)


def sharpness(grey: Array) -> float:
    """Return the log of the amplitude of the finest details over that of details twice as large, of a grey
    picture uint8 (H, W), at its own resolution."""
    top, left = (max(0, (side - _WINDOW) // 2) for side in grey.shape)
    window = grey[top : top + _WINDOW, left : left + _WINDOW].astype(np.float32)
    fine = cv2.GaussianBlur(window, (0, 0), _FINE)
    middle = cv2.GaussianBlur(window, (0, 0), _MIDDLE)
    return float(np.log((window - fine).std() + _FLOOR) - np.log((fine - middle).std() + _FLOOR))


def look_at_mask(path: str, image: Image) -> MaskLook:
    """Return what a photograph's mask holds."""
    try:
        mask = read_mask(path)
    except ImageError as error:
        return MaskLook(fault=str(error))
    off = None
    if mask.shape == image.size_hw and mask.any():
        part = part_of(image)
        if part is not None:
            off = float(1.0 - part[mask].mean())
    return MaskLook((mask.shape[0], mask.shape[1]), float(mask.mean()), off)


def part_of(image: Image) -> Array | None:
    """Return where the part lies, bool (H, W), or None where the picture's rim is no even background."""
    height, width = image.size_hw
    rim = max(1, round(_RIM * min(height, width)))
    grey = cv2.GaussianBlur(cv2.cvtColor(image.pixels, cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(np.float32)
    edges = [grey[:rim], grey[-rim:], grey[:, :rim], grey[:, -rim:]]
    ring = np.concatenate([edge.ravel() for edge in edges])
    if ring.std() > _EVEN_RIM:
        return None
    part = np.abs(grey - np.median(ring)) > _APART
    side = max(3, round(0.02 * min(height, width))) | 1
    part = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((side, side), np.uint8)) > 0
    part = (
        cv2.dilate(part.astype(np.uint8), np.ones((3 * side, 3 * side), np.uint8)) > 0
    )  # shadows, broken rims
    return np.asarray(part) if _PART_SHARE[0] <= part.mean() <= _PART_SHARE[1] else None


def _median(counts: Array) -> float:
    """Return the median of grey levels from their histogram, interpolated within its level."""
    below = np.cumsum(counts)
    half = below[-1] / 2
    level = int(np.searchsorted(below, half))
    before = int(below[level - 1]) if level else 0
    return level - 0.5 + float((half - before) / max(int(counts[level]), 1))
