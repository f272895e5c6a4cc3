"""Drawn products for pretraining: a ground with parts on it, seen in a pose that changes a little.

A product is a list of parts in design units (0..1 along the picture), painted in order: bodies, pads in
rows, holes, rings, printed strokes, grooves. Each photograph shows it in a pose of its own, its parts
slightly moved and toned (part-to-part variation), its materials taken from another place. A part may be left
out, moved or toned differently: these are the defects that no texture has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.synth import glyphs
from flawscope.synth.materials import log_uniform, material

_FINE = 0.01  # design units between the points of a border that is chipped
_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws at


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that is painted: its outline in design units, and what fills it."""

    outline: np.ndarray  # float (n, 2), x and y
    tone_rgb: np.ndarray  # float32 (3,)
    filling: int = -1  # which of the product's materials; -1: the plain tone
    stroke: float = 0.0  # width of the line in design units; 0: filled
    bevel: float = 0.0  # strength of the lit and shaded border
    small: bool = False  # may be missing or out of place


@dataclass(frozen=True, eq=False)
class Product:
    """A kind of part, as an episode photographs it again and again."""

    materials: tuple[np.ndarray, ...]  # float32 (side, side, 3); the first is the ground
    parts: tuple[Part, ...]
    reach: float  # how far poses differ: 0..1 of a picture's side
    turn: float  # radians
    zoom: float  # relative
    tilt: float  # of the perspective
    wander: float  # of each part from one product to the next, design units
    light_angle: float
    vary: float = 0.0  # of the ground's contrast from piece to piece, on a logarithmic scale
    wear: np.ndarray | None = (
        None  # float32 (side, side): a layer that lies over pieces, now strong, now faint
    )
    worn: float = 0.0  # most strength of that layer

    @property
    def middle(self) -> np.ndarray:
        """The ground's mean colour, float32 (3,)."""
        return np.asarray(self.materials[0].mean((0, 1)), np.float32)


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the camera stands and how this piece differs from its design."""

    warp: np.ndarray  # float (3, 3), from design units to pixels
    shifts: np.ndarray  # float (parts, 2), design units
    tones: np.ndarray  # float32 (parts, 3)
    crops: tuple[tuple[int, int], ...]  # of each material: row and column
    contrast: float  # of the ground
    worn: float  # strength of the layer over it
    wear_crop: tuple[int, int]


def ground(rng: Generator, side: int) -> np.ndarray:
    """Return a material for products, float32 (side, side, 3)."""
    return material(rng, side)


def texture(rng: Generator, ground: np.ndarray) -> Product:
    """Return a product that is one stationary surface, photographed anywhere."""
    turn = rng.uniform(0, 0.3) if rng.random() < 0.3 else 0.02
    return Product((ground,), (), 1.0, turn, 0.05, 0.0, 0.0, 0.0)


def varied(rng: Generator, made: Product, other: np.ndarray) -> Product:
    """Return a product whose pieces differ in their surface, most of the time: in its contrast, and by a
    layer over it that is now strong, now faint. `other` is a material that the layer is made of."""
    if rng.random() < 0.4:
        return made
    if rng.random() < 0.4:
        return replace(made, vary=rng.uniform(0.05, 0.3))
    layer = other[..., 1] - other[..., 1].mean()
    strength = rng.uniform(0.3, 1.4) * float(made.materials[0].std() + 0.01)
    return replace(
        made, vary=rng.uniform(0, 0.25), wear=np.clip(layer / (layer.std() + 1e-4), -3, 3), worn=strength
    )


def assembly(rng: Generator, ground: np.ndarray, other: np.ndarray) -> Product:
    """Return a product with parts on a ground."""
    parts: list[Part] = []
    for _ in range(int(rng.integers(0, 3))):
        parts.append(_body(rng))
    for _ in range(int(rng.integers(1, 4))):
        parts += _DETAILS[rng.integers(len(_DETAILS))](rng)
    return Product(
        (ground, other),
        tuple(parts[:60]),
        reach=rng.uniform(0.0, 0.12),
        turn=rng.uniform(0, 0.06),
        zoom=rng.uniform(0, 0.04),
        tilt=rng.uniform(0, 0.03) if rng.random() < 0.3 else 0.0,
        wander=rng.uniform(0, 0.006),
        light_angle=rng.uniform(0, 2 * np.pi),
    )


def edge(rng: Generator, ground: np.ndarray, other: np.ndarray) -> Product:
    """Return a surface that ends: its border with the background runs through the picture."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35)
    along, normal = _unit(angle), _unit(angle + np.pi / 2)
    waves = np.cumsum(rng.normal(0, 0.006 * rng.random(), 40)) if rng.random() < 0.3 else np.zeros(40)
    border = 0.5 + normal * (offset + waves)[:, None] + along * np.linspace(-2, 2, 40)[:, None]
    outline = np.concatenate([border, border[::-1] + normal * 3])
    filling = 1 if rng.random() < 0.5 else -1
    beyond = Part(outline, _tone(rng), filling, bevel=_maybe_bevel(rng))
    return Product((ground, other), (beyond,), rng.uniform(0.05, 0.25), 0.04, 0.03, 0.0, 0.004, angle)


def product(rng: Generator, ground: np.ndarray, other: np.ndarray, *, objects: float) -> Product:
    """Return a product of any kind; `objects` is the share of those that are no plain surface."""
    if rng.random() >= objects:
        made = texture(rng, ground)
    else:
        made = assembly(rng, ground, other) if rng.random() < 0.6 else edge(rng, ground, other)
    return varied(rng, made, other)


def pose(rng: Generator, made: Product, side: int) -> Pose:
    """Return one photograph's pose for a picture of `side` pixels."""
    turn, zoom = rng.normal(0, 1) * made.turn, np.exp(rng.normal(0, 1) * made.zoom) * side
    moved = rng.uniform(-1, 1, 2) * made.reach * side
    cosine, sine = np.cos(turn) * zoom, np.sin(turn) * zoom
    centre = np.array([cosine * 0.5 - sine * 0.5, sine * 0.5 + cosine * 0.5])
    to = side / 2 + moved - centre
    tilt = rng.normal(0, 1, 2) * made.tilt
    warp = np.array([[cosine, -sine, to[0]], [sine, cosine, to[1]], [tilt[0], tilt[1], 1.0]])
    warp = np.array(warp) / (1 + tilt.sum() / 2)
    warp[2, 2] = 1.0
    crops = []
    for filling in made.materials:
        room = filling.shape[0] - side
        crops.append((int(rng.integers(0, room + 1)), int(rng.integers(0, room + 1))))
    count = len(made.parts)
    common = rng.normal(0, 1, (1, 2)) * made.wander
    return Pose(
        warp,
        common + rng.normal(0, 0.7, (count, 2)) * made.wander,
        (rng.normal(0, 1, (count, 3)) * 0.012).astype(np.float32),
        tuple(crops),
        float(np.exp(rng.normal(0, 1) * made.vary)),
        float(rng.random() ** 2 * made.worn),
        (int(rng.integers(0, made.materials[0].shape[0] - side + 1)),) * 2,
    )


def scene(made: Product, at: Pose, side: int, *, parts: Sequence[Part] | None = None) -> np.ndarray:
    """Paint a product in a pose, with other `parts` of the same number where given: float32 (side, side, 3),
    about 0..1."""
    canvas = _ground(made, at, side)
    for number, part in enumerate(made.parts if parts is None else parts):
        corners = _projected(part.outline + at.shifts[number], at.warp)
        alpha = np.zeros((side, side), np.uint8)
        fixed = np.round(np.clip(corners, -4 * side, 5 * side) * (1 << _SHIFT)).astype(np.int32)
        if part.stroke > 0:
            width = max(1, round(part.stroke * side))
            cv2.polylines(alpha, [fixed], False, 255, width, cv2.LINE_AA, _SHIFT)
        else:
            cv2.fillPoly(alpha, [fixed], 255, cv2.LINE_AA, _SHIFT)
        left, top, width, height = cv2.boundingRect(alpha)
        if width == 0:
            continue
        here = (slice(top, top + height), slice(left, left + width))
        share = alpha[here].astype(np.float32)[..., None] * np.float32(1 / 255)
        tone = part.tone_rgb + at.tones[number]
        filled = tone if part.filling < 0 else _filling(made, at, part.filling, side)[here] + at.tones[number]
        canvas[here] += share * (filled - canvas[here])
        if part.bevel > 0:
            canvas[here] += _bevelled(share[..., 0], part.bevel, made.light_angle)[..., None]
    return canvas


def spoiled(rng: Generator, made: Product, *, least: float) -> tuple[Part, ...] | None:
    """Return the parts with one small one missing, moved, turned, bent or of another tone, or with a border
    that is chipped; `least` is the least change of a tone. None where no part may be spoiled."""
    small = [number for number, part in enumerate(made.parts) if part.small]
    large = [number for number, part in enumerate(made.parts) if not part.small and not part.stroke]
    if large and (not small or rng.random() < 0.4):
        return _chipped(rng, made, int(rng.choice(large)))
    if not small:
        return None
    which = int(rng.choice(small))
    parts, part = list(made.parts), made.parts[which]
    middle = part.outline.mean(0)
    size = float(np.ptp(part.outline, 0).max()) + 0.01
    how = rng.integers(5)
    if how == 0:
        outline = part.outline * 0 - 9.0  # painted outside: missing
    elif how == 1:
        outline = part.outline + _unit(rng.uniform(0, 6.28)) * size * rng.uniform(0.35, 1.0)
    elif how == 2:
        turned = (part.outline - middle) @ _rotation(rng.uniform(0.3, 1.5) * rng.choice([-1, 1])).T
        outline = middle + turned
    elif how == 3:
        outline = middle + (part.outline - middle) * np.exp(rng.choice([-1, 1]) * rng.uniform(0.3, 0.8))
    else:
        change = rng.choice([-1.0, 1.0]) * rng.uniform(least, 0.5)
        parts[which] = replace(part, tone_rgb=(part.tone_rgb + np.float32(change)), filling=-1)
        return tuple(parts)
    parts[which] = replace(part, outline=outline)
    return tuple(parts)


def _chipped(rng: Generator, made: Product, which: int) -> tuple[Part, ...] | None:
    """Return the parts with a piece broken out of one's border, or added to it; None where the picture does
    not show that border."""
    outline = made.parts[which].outline
    ends = np.roll(outline, -1, 0)
    counts = np.ceil(np.abs(ends - outline).max(1) / _FINE).astype(int).clip(1, 400)
    dense = np.concatenate(
        [
            start + (end - start) * np.arange(n)[:, None] / n
            for start, end, n in zip(outline, ends, counts, strict=True)
        ]
    )
    shown = np.flatnonzero(((dense > 0.06) & (dense < 0.94)).all(1))
    length = max(3, int(log_uniform(rng, 0.03, 0.2) / _FINE))
    if not len(shown) or length > len(dense) // 2:
        return None
    window = (int(rng.choice(shown)) + np.arange(length)) % len(dense)
    span = dense[window[-1]] - dense[window[0]]
    normal = np.array([-span[1], span[0]]) / (np.linalg.norm(span) + 1e-6)
    depth = log_uniform(rng, 0.015, 0.1) * rng.choice([-1.0, 1.0])
    swell = np.sin(np.linspace(0, np.pi, length)) ** rng.uniform(0.3, 1) * (
        1 + 0.2 * rng.normal(0, 1, length)
    )
    dense[window] += normal * (depth * swell)[:, None]
    parts = list(made.parts)
    parts[which] = replace(parts[which], outline=dense)
    return tuple(parts)


def _ground(made: Product, at: Pose, side: int) -> np.ndarray:
    """Return the surface of this piece, float32 (side, side, 3), a copy."""
    canvas = _filling(made, at, 0, side)
    middle = made.middle
    canvas = middle + (canvas - middle) * np.float32(at.contrast)
    if made.wear is not None:
        row, column = at.wear_crop
        canvas += (made.wear[row : row + side, column : column + side] * np.float32(at.worn))[..., None]
    return np.asarray(canvas)


def _filling(made: Product, at: Pose, which: int, side: int) -> np.ndarray:
    row, column = at.crops[which]
    return made.materials[which][row : row + side, column : column + side]


def _projected(outline: np.ndarray, warp: np.ndarray) -> np.ndarray:
    moved = outline @ warp[:2, :2].T + warp[:2, 2]
    depth = outline @ warp[2, :2] + warp[2, 2]
    return np.asarray(moved / np.maximum(depth, 0.2)[:, None])


def _bevelled(share: np.ndarray, strength: float, light: float) -> np.ndarray:
    soft = cv2.GaussianBlur(share, (0, 0), 1.2)
    slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * np.cos(light) + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * np.sin(
        light
    )
    return np.asarray(slope * np.float32(strength), np.float32)


def _grey(rng: Generator) -> np.ndarray:
    return np.full(3, rng.uniform(0.05, 0.95), np.float32)


def _tone(rng: Generator) -> np.ndarray:
    return _grey(rng) if rng.random() < 0.7 else rng.uniform(0.05, 0.95, 3).astype(np.float32)


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _maybe_bevel(rng: Generator) -> float:
    return float(rng.uniform(0.02, 0.15)) if rng.random() < 0.4 else 0.0


def _shape(rng: Generator, centre: np.ndarray, half: np.ndarray, angle: float) -> np.ndarray:
    """Return the outline of a rectangle, an ellipse or a polygon."""
    kind = rng.integers(3)
    if kind == 0:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    elif kind == 1:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corners = np.stack([np.cos(turns), np.sin(turns)], 1) * half
    else:
        turns = np.linspace(0, 2 * np.pi, int(rng.integers(3, 9)), endpoint=False)
        corners = np.stack([np.cos(turns), np.sin(turns)], 1) * half
    return np.asarray(centre + corners @ _rotation(angle).T)


def _body(rng: Generator) -> Part:
    outline = _shape(rng, rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.5, 2), rng.normal(0, 0.3))
    return Part(outline, _tone(rng), 1 if rng.random() < 0.6 else -1, bevel=_maybe_bevel(rng))


def _row(rng: Generator) -> list[Part]:
    """Return pads, holes or leads in one row or several."""
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.05)
    along, aside = _unit(angle), _unit(angle + np.pi / 2)
    pitch = log_uniform(rng, 0.06, 0.3)
    half = pitch * rng.uniform(0.15, 0.45, 2) * np.array([1.0, rng.uniform(0.6, 2.0)])
    start = rng.uniform(0.05, 0.4, 2)
    tone, bevel = _tone(rng), _maybe_bevel(rng)
    shape = _shape(rng, np.zeros(2), half, angle)
    rows, count = int(rng.choice([1, 1, 2, 3])), int(min(12, 1.1 / pitch))
    gap = half[1] * rng.uniform(2.5, 5)
    return [
        Part(start + along * pitch * column + aside * gap * row + shape, tone, bevel=bevel, small=True)
        for row in range(rows)
        for column in range(count)
    ]


def _ring(rng: Generator) -> list[Part]:
    """Return circles within one another: a hole with its rim, a washer, a screw."""
    centre, reach = rng.uniform(0.2, 0.8, 2), log_uniform(rng, 0.04, 0.3)
    turns = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], 1)
    rings = []
    for share in np.sort(rng.uniform(0.25, 1, int(rng.integers(1, 4))))[::-1]:
        outline = centre + circle * reach * share
        rings.append(Part(outline, _tone(rng), bevel=_maybe_bevel(rng), small=reach < 0.12))
    return rings


def _print(rng: Generator) -> list[Part]:
    """Return printed characters as strokes."""
    text = "".join(rng.choice(list(glyphs.LETTERS + glyphs.DIGITS), int(rng.integers(2, 7))))
    height = log_uniform(rng, 0.07, 0.25)
    centre, angle = rng.uniform(0.3, 0.7, 2), rng.normal(0, 0.2)
    tone, stroke = _tone(rng), height * rng.uniform(0.07, 0.16)
    lines = glyphs.strokes(text, height=height)
    return [
        Part(centre + np.asarray(line) @ _rotation(angle).T, tone, stroke=stroke, small=True)
        for line in lines
    ]


def _grooves(rng: Generator) -> list[Part]:
    """Return lines across: traces, seams, grooves."""
    angle, tone = rng.uniform(0, np.pi), _tone(rng)
    along, aside = _unit(angle), _unit(angle + np.pi / 2)
    stroke, gap = log_uniform(rng, 0.008, 0.06), log_uniform(rng, 0.05, 0.4)
    count = int(rng.integers(1, 6))
    bend = rng.normal(0, 0.1) if rng.random() < 0.3 else 0.0
    line = np.linspace(-1, 1, 16)
    return [
        Part(
            0.5 + along * line[:, None] + aside * ((number - count / 2) * gap + bend * line**2)[:, None],
            tone,
            stroke=stroke,
            bevel=_maybe_bevel(rng),
        )
        for number in range(count)
    ]


_DETAILS = (_row, _row, _ring, _print, _grooves)
