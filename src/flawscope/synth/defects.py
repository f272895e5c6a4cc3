"""Defects that can be painted on any picture: each returns new pixels and the mask of what it changed.

All take uint8 RGB pixels (H, W, 3), a generator and a `Wish`: how large, how strong and where. They serve the
drawn chips, the synthetic anomalies of methods that learn from them (`blended` is that of DRAEM, Zavrtanik
et al. 2021), and pretraining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth.textures import octave_noise

_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws at
_SEEN = 0.15  # share of its full strength from which a painted pixel belongs to the mask


@dataclass(frozen=True, eq=False)
class Wish:
    """What a defect should be: `area_px` of mask and `contrast` in grey levels, both approximately.

    `where` (bool or None for everywhere) says which pixels may change.
    """

    area_px: float
    contrast: float
    where: np.ndarray | None = None  # bool (H, W)

    def __post_init__(self) -> None:
        if self.area_px <= 0 or self.contrast <= 0:
            raise ValueError(f"area_px and contrast must be positive, not {self.area_px}, {self.contrast}")
        if self.where is not None and not self.where.any():
            raise ValueError("a defect needs at least one pixel where it may be")


@dataclass(frozen=True, eq=False)
class Marked:
    """A picture with a defect, and which pixels the defect changed."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    mask: np.ndarray  # bool (H, W)


def scratch(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw one to three thin, slightly bent, nearly parallel lines that fade in and out."""
    size_hw = pixels.shape[:2]
    width = float(np.clip(np.sqrt(wish.area_px) / 9, 1.0, min(size_hw) / 40 + 1))
    lines = int(rng.choice([1, 1, 2, 3]))
    length = min(wish.area_px / width / lines, 0.9 * max(size_hw))
    start, angle = _place(rng, size_hw, wish.where), rng.uniform(0, np.pi)
    along = np.linspace(-0.5, 0.5, 24)
    bend = rng.normal(0, 0.12)
    alpha = np.zeros(size_hw, np.uint8)
    for line in range(lines):
        aside = bend * (along**2) * length + line * width * rng.uniform(2.0, 4.0)
        points = start + _turned(np.stack([along * length * rng.uniform(0.6, 1), aside], 1), angle)
        _stroke(alpha, points, width * rng.uniform(0.8, 1.3), 255)
    fade = 0.75 + 0.25 * np.clip(octave_noise(rng, size_hw, cell_px=max(4, length / 5), octaves=1), -1, 1)
    tone = rng.choice([1.0, 1.0, -1.0]) * np.array([1.0, 1.0, 1.04])
    return _painted(pixels, alpha * (fade / 255), tone, wish)


def crack(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw a jagged line that branches, darker than the ground, or lighter on a very dark one."""
    size_hw = pixels.shape[:2]
    width = float(np.clip(np.sqrt(wish.area_px) / 10, 1.0, min(size_hw) / 50 + 1))
    length = min(wish.area_px / width / 1.4, 0.9 * max(size_hw))
    alpha = np.zeros(size_hw, np.uint8)
    start, angle = _place(rng, size_hw, wish.where), rng.uniform(0, 2 * np.pi)
    trunk = _jagged(rng, start - _turned(np.array([[length / 2, 0]]), angle)[0], angle, length)
    _stroke(alpha, trunk, width, 255)
    for _ in range(int(rng.integers(1, 4))):
        root = trunk[rng.integers(1, len(trunk) - 1)]
        turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        _stroke(alpha, _jagged(rng, root, turn, length * rng.uniform(0.15, 0.4)), max(width * 0.8, 1.0), 220)
    ground = _mean_under(pixels, alpha)
    tone = -np.ones(3) if ground > wish.contrast + 5 else np.ones(3)
    return _painted(pixels, alpha / np.float32(255), tone, wish)


def stain(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw a translucent, irregular spot of dried liquid with a stronger rim."""
    alpha = _blob(rng, pixels.shape[:2], wish, roughness=0.35)
    inner = cv2.GaussianBlur(alpha, (0, 0), max(1.0, np.sqrt(wish.area_px) / 9))
    rim = np.clip(alpha - 0.75 * inner, 0, 1)
    tone = rng.choice([-1.0, 1.0]) * (np.array([0.8, 1.0, 1.25]) + rng.normal(0, 0.12, 3))
    return _painted(pixels, np.clip(0.55 * alpha + rim, 0, 1), tone, wish)


def blob(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw an opaque lump with a lit and a shaded side, as a splash of solder or a crumb is."""
    alpha = _blob(rng, pixels.shape[:2], wish, roughness=0.25)
    soft = cv2.GaussianBlur(alpha, (0, 0), max(0.8, np.sqrt(wish.area_px) / 7))
    light = rng.uniform(0, 2 * np.pi)
    slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * np.cos(light) + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * np.sin(
        light
    )
    slope /= max(1e-6, float(np.abs(slope).max()))
    grain = 0.15 * octave_noise(rng, pixels.shape[:2], cell_px=3, octaves=1)
    hue = np.clip(np.array([1.0, 0.95, 0.88]) + rng.normal(0, 0.1, 3), 0.5, 1.3)
    base = rng.choice([-1.0, 1.0], p=[0.35, 0.65])
    strength = base + 0.8 * slope + grain
    return _painted(pixels, alpha, strength[..., None] * hue, wish)


def fibre(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw a thin curled hair or thread."""
    size_hw = pixels.shape[:2]
    width = float(np.clip(np.sqrt(wish.area_px) / 12, 1.0, min(size_hw) / 60 + 1))
    length = min(wish.area_px / width, 2.0 * max(size_hw))
    turns = np.cumsum(rng.normal(0, 0.22, 40)) + rng.uniform(0, 2 * np.pi)
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * (length / 40)
    points = np.cumsum(steps, 0)
    alpha = np.zeros(size_hw, np.uint8)
    _stroke(alpha, points - points.mean(0) + _place(rng, size_hw, wish.where), width, 255)
    tone = rng.choice([-1.0, 1.0], p=[0.3, 0.7]) * np.clip(1 + rng.normal(0, 0.25, 3), 0.3, 1.7)
    return _painted(pixels, alpha / np.float32(255), tone, wish)


def dust(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw a loose cluster of small crumbs, most of them lighter than the ground."""
    size_hw = pixels.shape[:2]
    count = int(rng.integers(5, 16))
    sizes = rng.lognormal(0, 0.5, count)
    radii = np.maximum(np.sqrt(wish.area_px * sizes / sizes.sum() / np.pi), 0.8)
    centre, spread = _place(rng, size_hw, wish.where), 1.6 * np.sqrt(wish.area_px)
    alpha = np.zeros(size_hw, np.uint8)
    for radius in radii:
        middle = centre + rng.normal(0, 0.5, 2) * spread
        corners = middle + _outline(rng, radius, 0.3)
        cv2.fillPoly(alpha, [_fixed(corners)], int(rng.integers(150, 256)), cv2.LINE_AA, _SHIFT)
    return _painted(pixels, alpha / np.float32(255), np.array([1.0, 0.97, 0.9]), wish)


def contamination(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw foreign matter of some kind: a stain, a blob, a fibre or dust."""
    kind = (stain, blob, fibre, dust)[rng.integers(4)]
    return kind(pixels, rng, wish=wish)


def discoloration(pixels: np.ndarray, rng: Generator, *, wish: Wish) -> Marked:
    """Draw a place with a soft border whose colour has changed, as heat or moisture does."""
    alpha = _blob(rng, pixels.shape[:2], wish, roughness=0.3)
    alpha = cv2.GaussianBlur(alpha, (0, 0), max(0.7, np.sqrt(wish.area_px) / 12))
    uneven = 0.8 + 0.2 * np.clip(
        octave_noise(rng, pixels.shape[:2], cell_px=max(3, np.sqrt(wish.area_px) / 3)), -1, 1
    )
    warm = np.array([1.3, 0.9, 0.35]) if rng.random() < 0.6 else np.array([0.6, 0.9, 1.4])
    tone = rng.choice([-1.0, 1.0], p=[0.35, 0.65]) * (warm + rng.normal(0, 0.1, 3))
    return _painted(pixels, alpha * uneven, tone, wish)


def blended(pixels: np.ndarray, rng: Generator, *, wish: Wish, texture: np.ndarray) -> Marked:
    """Blend another picture in through a mask cut from noise, at 20 to 90 %; `contrast` is ignored."""
    size_hw = pixels.shape[:2]
    noise = octave_noise(rng, size_hw, cell_px=max(3.0, 1.5 * np.sqrt(wish.area_px)))
    allowed = np.ones(size_hw, bool) if wish.where is None else wish.where
    share = min(1.0, wish.area_px / int(allowed.sum()))
    mask = allowed & (noise >= np.quantile(noise[allowed], 1 - share))
    opacity = np.float32(rng.uniform(0.2, 0.9))
    mixed = pixels * (1 - opacity) + texture * opacity
    return Marked(np.where(mask[..., None], np.round(mixed), pixels).astype(np.uint8), mask)


Painter = Callable[..., Marked]

PAINTERS: Mapping[str, Painter] = MappingProxyType(
    {
        "scratch": scratch,
        "crack": crack,
        "stain": stain,
        "blob": blob,
        "fibre": fibre,
        "dust": dust,
        "contamination": contamination,
        "discoloration": discoloration,
    }
)


def _painted(pixels: np.ndarray, alpha: np.ndarray, tone: np.ndarray, wish: Wish) -> Marked:
    """Add `tone` (3,) or (H, W, 3) times `alpha`, scaled to the wished mean contrast over the mask."""
    alpha = np.asarray(alpha, np.float32)
    if wish.where is not None:
        alpha = alpha * wish.where
    mask = alpha > _SEEN
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    marred = pixels.copy()
    if width == 0:
        return Marked(marred, mask)
    here = (slice(top, top + height), slice(left, left + width))  # all that follows is as small as the defect
    inside = mask[here]
    tone = np.asarray(tone, np.float32)
    change = (alpha[here] * inside)[..., None] * (tone[here] if tone.ndim == 3 else tone)
    change *= wish.contrast / max(1e-6, float(np.abs(change[inside]).mean()))
    marred[here] = np.clip(np.round(marred[here] + change), 0, 255)
    return Marked(marred, mask)


def _blob(rng: Generator, size_hw: tuple[int, int], wish: Wish, *, roughness: float) -> np.ndarray:
    """Return an irregular filled shape as float32 (H, W) in 0..1."""
    radius = np.sqrt(wish.area_px / np.pi)
    stretch = rng.uniform(1, 1.8) ** 0.5
    corners = _outline(rng, radius, roughness) * (stretch, 1 / stretch)
    alpha = np.zeros(size_hw, np.uint8)
    middle = _place(rng, size_hw, wish.where)
    corners = _turned(corners, rng.uniform(0, np.pi)) + middle
    cv2.fillPoly(alpha, [_fixed(corners)], 255, cv2.LINE_AA, _SHIFT)
    return alpha / np.float32(255)


def _outline(rng: Generator, radius: float, roughness: float) -> np.ndarray:
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    waves = np.arange(2, 8)
    sizes = rng.normal(0, roughness, len(waves)) / waves
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    factor = 1 + (sizes * np.cos(turns[:, None] * waves + phases)).sum(1)
    reach = radius * np.clip(factor, 0.3, 2.0)
    return np.stack([np.cos(turns) * reach, np.sin(turns) * reach], 1)


def _place(rng: Generator, size_hw: tuple[int, int], where: np.ndarray | None) -> np.ndarray:
    """Return a random (x, y) at which a defect may lie."""
    if where is None:
        return rng.random(2) * (size_hw[1], size_hw[0])
    allowed = np.flatnonzero(where)
    row, column = divmod(int(allowed[rng.integers(len(allowed))]), size_hw[1])
    return np.array([column, row], float)


def _jagged(rng: Generator, start: np.ndarray, angle: float, length: float) -> np.ndarray:
    count = max(3, int(length / 5))
    turns = angle + rng.normal(0, 0.45, count)
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * (length / count)
    return np.concatenate([start[None], start + np.cumsum(steps, 0)])


def _stroke(alpha: np.ndarray, points: np.ndarray, width: float, value: int) -> None:
    thickness = max(1, round(width))
    cv2.polylines(alpha, [_fixed(points)], False, value, thickness, cv2.LINE_AA, _SHIFT)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(points * (1 << _SHIFT)), np.int32)


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def _mean_under(pixels: np.ndarray, alpha: np.ndarray) -> float:
    under = pixels[alpha > 128]
    return float(under.mean()) if len(under) else 0.0
