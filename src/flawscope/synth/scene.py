"""Drawing a plan: tape, pocket, shadow, leads or pads, body and marking; then the photograph of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.core.rng import derive
from flawscope.synth import glyphs
from flawscope.synth.parts import Look, Plan, Terminal
from flawscope.synth.textures import octave_noise

Size = tuple[int, int]
Colour = tuple[float, float, float]

_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws at
_CENTRE = np.array([0.0, 13.0])  # of the pocket, from the centre of the picture
_TAPE_HALF = 102.0
_HOLE_PITCH, _HOLE_Y, _HOLE_RADIUS = 64.0, -77.0, 10.0
_POCKET_PITCH = 256.0
_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)
_CREAM: Colour = (1.0, 0.985, 0.95)
_STEEL: Colour = (0.985, 1.0, 1.02)
_OUTWARD = {"top": np.pi, "bottom": 0.0, "left": np.pi / 2, "right": -np.pi / 2}
_FACING = {
    "top": 8.0,
    "bottom": -6.0,
    "left": 4.0,
    "right": -3.0,
}  # grey levels, by the light from above left


@dataclass(frozen=True, eq=False)
class Pose:
    """Where design coordinates lie in the picture: turn, scale, move."""

    unit: float  # pixels a design unit
    centre: np.ndarray  # (2,) pixels
    turn: float

    def points(self, design_xy: np.ndarray) -> np.ndarray:
        """Return pixels (n, 2) of design coordinates (n, 2)."""
        return np.asarray(self.centre + (design_xy @ self._rotation) * self.unit)

    def inside(self, offset_xy: tuple[float, float] | np.ndarray, turn: float) -> Pose:
        """Return the pose of something that lies in this one, moved and turned."""
        centre = self.points(np.asarray(offset_xy, float)[None])[0]
        return Pose(self.unit, centre, self.turn + turn)

    @cached_property
    def _rotation(self) -> np.ndarray:
        sine, cosine = np.sin(self.turn), np.cos(self.turn)
        return np.array([[cosine, sine], [-sine, cosine]])


@dataclass(frozen=True, eq=False)
class Shape:
    """A face of a terminal: x in half widths, y in lengths outwards, tone relative to the metal's."""

    corners: np.ndarray  # (4, 2) a quad or (2, 2) a line
    tone: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn part without light and lens, and where its body is."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    body: np.ndarray  # uint8 (H, W), 255 inside


def poses(plan: Plan, size_hw: Size) -> tuple[Pose, Pose]:
    """Return the poses of the carrier and of the part."""
    height, width = size_hw
    unit = min(height / 192, width / 256)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    carrier = Pose(unit, middle + np.array(plan.look.shift_xy) * unit, plan.look.turn)
    return carrier, carrier.inside(_CENTRE + np.array(plan.seat_xy), plan.seat_turn)


def render(plan: Plan, size_hw: Size) -> Scene:
    """Draw a part on its carrier in even light, uint8 RGB of `size_hw`."""
    carrier, part = poses(plan, size_hw)
    canvas = np.empty((*size_hw, 3), np.uint8)
    canvas[:] = _tone(38, _STEEL)
    _draw_carrier(canvas, plan, carrier)
    _cast_shadow(canvas, plan, part)
    _draw_terminals(canvas, plan, part)
    body = np.zeros(size_hw, np.uint8)
    outline = _rounded(plan.lot.design.half_wh, 3.0)
    _fill(body, part.points(outline), 255)
    _draw_body(canvas, plan, part)
    rough, flow = _surfaces(derive(plan.grain, "grain"), size_hw, part.unit)
    texture = _where(body, 3.0 * rough + 1.5 * flow, 1.3 * rough + 2.2 * flow)
    for bite in plan.bites:
        texture += _break_off(canvas, plan, part.points(bite), body) * (9 * rough + 4 * flow)
    lit = cv2.add(canvas, cv2.merge([texture, texture, texture]), dtype=cv2.CV_8U)
    _print_marking(lit, plan, part, rough)
    return Scene(lit, body)


def photograph(scene: np.ndarray, look: Look) -> np.ndarray:
    """Return what a lens and the lot's light make of a scene, float32 (H, W, 3) before the sensor."""
    height, width = scene.shape[:2]
    unit = min(height / 192, width / 256)
    sigma = max(0.35, look.focus * (0.5 + 0.5 * unit))
    soft = cv2.GaussianBlur(scene, (0, 0), sigma)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    sideways = np.float32(look.gradient_xy[0]) * across - np.float32(0.05) * across**2
    upright = np.float32(look.gradient_xy[1]) * down - np.float32(0.05) * down**2
    field = (1 + sideways) + upright
    light = cv2.merge([field * np.float32(look.gain * channel) for channel in look.cast_rgb])
    return np.asarray(cv2.multiply(soft, light, dtype=cv2.CV_32F))


def exposed(light: np.ndarray, rng: Generator, *, noise: float) -> np.ndarray:
    """Return the uint8 picture that a sensor with `noise` (grey levels) makes of `light`."""
    table = _QUANTILES * np.float32(noise)
    grains = cv2.LUT(rng.integers(0, 256, light.shape, np.uint8), table)
    return np.asarray(cv2.add(light, grains, dtype=cv2.CV_8U))


def _draw_carrier(canvas: np.ndarray, plan: Plan, pose: Pose) -> None:
    look = plan.look
    reach = max(canvas.shape[:2]) / pose.unit
    tape = np.array([[-reach, -_TAPE_HALF], [reach, -_TAPE_HALF], [reach, _TAPE_HALF], [-reach, _TAPE_HALF]])
    _fill(canvas, pose.points(tape), _tone(look.carrier, _STEEL))
    half_view = canvas.shape[1] / 2 / pose.unit + 2 * _HOLE_RADIUS
    for step in range(-int(half_view / _HOLE_PITCH) - 1, int(half_view / _HOLE_PITCH) + 2):
        middle = np.array([(step + 0.5) * _HOLE_PITCH, _HOLE_Y])
        _disc(canvas, pose, middle + 0.7, _HOLE_RADIUS + 1.2, _tone(look.carrier + 34, _STEEL))
        _disc(canvas, pose, middle - 0.4, _HOLE_RADIUS, _tone(30, _STEEL))
    width, height = plan.lot.design.half_wh
    margin = plan.lot.design.terminal_wl[1] + 5
    sideways = margin if plan.lot.design.terminals[1] else 9.0
    half = np.array([width + sideways, height + margin])
    count = int((half_view + half[0]) / _POCKET_PITCH)
    for step in range(-count, count + 1):
        _draw_pocket(canvas, look, pose.inside(_CENTRE + np.array([step * _POCKET_PITCH, 0.0]), 0.0), half)
        for side in (-1, 1):
            x = step * _POCKET_PITCH + side * 112
            _draw_fiducial(canvas, look, pose.inside((x, 76.0), 0.0), side)


def _draw_pocket(canvas: np.ndarray, look: Look, pose: Pose, half: np.ndarray) -> None:
    outer, inner = _rounded(tuple(half + 4.5), 6.0), _rounded(tuple(half), 4.0)
    _fill(canvas, pose.points(outer), _tone(look.carrier - 30, _STEEL))
    (x0, y0), (x1, y1) = half + 4.5, half
    lower = np.array([[-x0, y0], [x0, y0], [x1, y1], [-x1, y1]])
    _fill(canvas, pose.points(lower), _tone(look.carrier + 22, _STEEL))
    right = np.array([[x0, -y0], [x0, y0], [x1, y1], [x1, -y1]])
    _fill(canvas, pose.points(right), _tone(look.carrier + 8, _STEEL))
    _fill(canvas, pose.points(inner), _tone(look.carrier - 18, _STEEL))
    _disc(canvas, pose, np.zeros(2), 9.0, _tone(28, _STEEL))


def _draw_fiducial(canvas: np.ndarray, look: Look, pose: Pose, side: int) -> None:
    colour = _tone(look.carrier + 92, _CREAM)
    if side < 0:
        for bar in (np.array([[-7, 0], [7, 0]]), np.array([[0, -7], [0, 7]])):
            _line(canvas, pose.points(bar), 1.8 * pose.unit, colour)
    else:
        _disc(canvas, pose, np.zeros(2), 6.5, colour)
        _disc(canvas, pose, np.zeros(2), 4.2, _tone(look.carrier, _STEEL))
        _disc(canvas, pose, np.zeros(2), 1.6, colour)


def _cast_shadow(canvas: np.ndarray, plan: Plan, part: Pose) -> None:
    """Darken the pocket on the side away from the light; drawn at a quarter of the size, for it is soft."""
    height, width = canvas.shape[:2]
    small = np.zeros((-(-height // 4), -(-width // 4)), np.uint8)
    body_w, body_h = plan.lot.design.half_wh
    reach = plan.lot.design.terminal_wl[1] * 0.4
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (body_w + 4, body_h + reach) + (2.5, 3.0)
    _fill(small, part.points(corners) / 4, 255)
    small = cv2.GaussianBlur(small, (0, 0), max(0.6, 0.9 * part.unit))
    dark = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    keep = cv2.convertScaleAbs(dark, alpha=0.42)
    cv2.multiply(canvas, cv2.merge([cv2.bitwise_not(keep)] * 3), dst=canvas, scale=1 / 255)


def _draw_terminals(canvas: np.ndarray, plan: Plan, part: Pose) -> None:
    """Draw gull-wing leads (shoulder, knee, foot, reflections) or flat pads, all placed at once."""
    design, look = plan.lot.design, plan.look
    width, length = design.terminal_wl
    shapes = _PAD if design.package == "pads" else _LEAD
    template = np.concatenate([shape.corners for shape in shapes])
    shown = [terminal for terminal in plan.terminals if terminal.present]
    scale = np.array([(width / 2, length * terminal.reach) for terminal in shown]).reshape(-1, 2)
    slips = np.array([terminal.slip for terminal in shown])
    local = template[None] * scale[:, None]
    local[:, :, 0] += slips[:, None]
    turns = np.array([_OUTWARD[terminal.side] + terminal.turn for terminal in shown])
    sine, cosine = np.sin(turns)[:, None], np.cos(turns)[:, None]
    x, y = local[:, :, 0], local[:, :, 1]
    roots = np.array([_root(terminal, design.half_wh) for terminal in shown]).reshape(-1, 2)
    placed = np.stack([x * cosine - y * sine, x * sine + y * cosine], 2) + roots[:, None]
    fixed = _fixed(part.points(placed.reshape(-1, 2))).reshape(len(shown), len(template), 2)
    for terminal, points in zip(shown, fixed, strict=True):
        tone = look.metal + terminal.tone + _FACING[terminal.side]
        start = 0
        for shape in shapes:
            corners = points[start : start + len(shape.corners)]
            start += len(shape.corners)
            colour = _tone(tone + shape.tone, _CREAM)
            if len(shape.corners) > 2:
                cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA, _SHIFT)
            else:
                thickness = max(1, round(1.5 * part.unit))
                cv2.polylines(canvas, [corners], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _root(terminal: Terminal, half_wh: tuple[float, float]) -> tuple[float, float]:
    """Return where a terminal leaves the body."""
    half_w, half_h = half_wh
    if terminal.side in ("top", "bottom"):
        return terminal.place, half_h if terminal.side == "bottom" else -half_h
    return half_w if terminal.side == "right" else -half_w, terminal.place


def _draw_body(canvas: np.ndarray, plan: Plan, part: Pose) -> None:
    look = plan.look
    half = np.array(plan.lot.design.half_wh)
    inner = half - 3.4
    _fill(canvas, part.points(_rounded(tuple(half), 3.0)), _tone(look.body - 16, _STEEL))
    (x0, y0), (x1, y1) = half - 0.6, inner
    upper = np.array([[-x0, -y0], [x0, -y0], [x1, -y1], [-x1, -y1]])
    _fill(canvas, part.points(upper), _tone(look.body + 22, _STEEL))
    left = np.array([[-x0, -y0], [-x1, -y1], [-x1, y1], [-x0, y0]])
    _fill(canvas, part.points(left), _tone(look.body + 10, _STEEL))
    _fill(canvas, part.points(_rounded(tuple(inner), 2.0)), _tone(look.body, _STEEL))
    pin_1 = inner * (-1, 1) + (10.5, -10.5)
    _disc(canvas, part, pin_1 + 0.8, 5.2, _tone(look.body + 24, _STEEL))
    _disc(canvas, part, pin_1, 4.8, _tone(look.body - 20, _STEEL))
    ejector = inner * (1, -1) + (-10.5, 10.5)
    _disc(canvas, part, ejector, 6.5, _tone(look.body + 9, _STEEL))
    _disc(canvas, part, ejector, 5.6, _tone(look.body - 3, _STEEL))


def _surfaces(rng: Generator, size_hw: Size, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return fine roughness and slow unevenness with streaks, float32 (H, W), spread about 1."""
    white = cv2.LUT(rng.integers(0, 256, size_hw, np.uint8), _QUANTILES)
    sigma = max(0.5, 0.75 * unit)
    rough = cv2.GaussianBlur(white, (0, 0), sigma) * np.float32(3.5 * sigma)
    flow = octave_noise(rng, size_hw, cell_px=max(4.0, 24 * unit), octaves=1)
    streaks = cv2.GaussianBlur(rng.standard_normal((size_hw[0], 1), dtype=np.float32), (1, 3), 0)
    return rough, flow + streaks


def _where(body: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.copyTo(inside, body, outside))


def _print_marking(canvas: np.ndarray, plan: Plan, part: Pose, rough: np.ndarray) -> None:
    """Blend the ink in, within the box around the body."""
    size_hw = body_h, body_w = canvas.shape[:2]
    half = np.array(plan.lot.design.half_wh)
    corners = part.points(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half)
    left, top = np.clip(np.floor(corners.min(0)).astype(int), 0, (body_w, body_h)).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int), 0, (body_w, body_h)).tolist()
    if right <= left or bottom <= top:
        return
    here = (slice(top, bottom), slice(left, right))
    share = _marking(plan, part, size_hw)[here] * (0.92 + 0.05 * rough[here])
    under = canvas[here].astype(np.float32)
    ink = np.array(_tone(plan.look.ink, _CREAM), np.float32)
    cv2.add(under, share[..., None] * (ink - under), dst=under)
    canvas[here] = cv2.convertScaleAbs(under)


def _break_off(canvas: np.ndarray, plan: Plan, outline: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Draw the broken face of a bite inside the body and return where it is, float32 (H, W)."""
    face = np.zeros(body.shape, np.uint8)
    _fill(face, outline, 255)
    share = np.asarray(cv2.multiply(face, body, scale=1 / 255), np.float32) / 255
    tone = np.array(_tone(plan.look.body + plan.bite_tone, _CREAM), np.float32)
    box = cv2.boundingRect(np.round(outline).astype(np.int32))
    x, y = max(box[0] - 2, 0), max(box[1] - 2, 0)
    here = (slice(y, max(0, box[1] + box[3] + 3)), slice(x, max(0, box[0] + box[2] + 3)))
    under = canvas[here].astype(np.float32)
    canvas[here] = np.clip(np.round(under + share[here][..., None] * (tone - under)), 0, 255)
    return share


def _marking(plan: Plan, part: Pose, size_hw: Size) -> np.ndarray:
    """Return how much ink lies where, float32 (H, W) in 0..1."""
    design = plan.lot.design
    height = design.text_height
    room = 2 * design.half_wh[0] - 24
    one, two, three = plan.fault_values
    ink = np.zeros(size_hw, np.uint8)
    base = part.inside(plan.text_offset_xy, plan.text_turn)
    for number, text in enumerate(plan.lines):
        size = min(height, room / (len(text) * glyphs.ADVANCE))
        pose = base.inside((0.0, (number - 0.5) * 1.55 * height - 3.0), 0.0)
        hit = number == (one > 0.5)
        weight = size / 8.5
        if hit and plan.marking_fault == "tilted":
            pose = pose.inside((0.0, 0.0), np.deg2rad((7 + 9 * two) * (1 if three > 0.5 else -1)))
        if hit and plan.marking_fault == "foreign":
            text, size, weight = text[: max(3, len(text) // 2)], 1.45 * size, 2.4 * weight
        _write(ink, pose, glyphs.strokes(text, height=size), weight)
        if hit and plan.marking_fault == "double":
            again = pose.inside((height * (0.2 + 0.25 * two), height * (0.45 * three - 0.22)), 0.02)
            _write(ink, again, glyphs.strokes(text, height=size), weight)
    share = ink.astype(np.float32) / 255
    if plan.marking_fault in ("smeared", "blotted"):
        share = _spoilt(share, plan, base)
    return share


def _spoilt(ink: np.ndarray, plan: Plan, pose: Pose) -> np.ndarray:
    """Return the ink with some characters wiped along the line or covered by a blot."""
    one, two, three = plan.fault_values
    height, half = plan.lot.design.text_height, plan.lot.design.half_wh[0]
    middle = np.array([(two - 0.5) * half, (0.5 if one > 0.5 else -0.5) * 1.55 * height - 3.0])
    reach = (0.3 + 0.35 * three) * half
    zone = np.zeros(ink.shape, np.uint8)
    if plan.marking_fault == "smeared":
        _fill(zone, pose.points(_box(-reach, -0.7 * height, reach, 0.7 * height) + middle), 255)
        span = max(3, round(0.9 * height * pose.unit))
        wiped = cv2.blur(ink, (span, 1)) * 1.15 + 0.04
        soft = cv2.GaussianBlur(zone, (0, 0), 1.5 * pose.unit).astype(np.float32) / 255
        spoilt: np.ndarray = ink * (1 - soft) + np.clip(wiped, 0, 1) * soft
        return spoilt
    turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    wobble = 1 + 0.18 * np.sin(3 * turns + 6 * two) + 0.12 * np.sin(5 * turns + 6 * three)
    outline = np.stack([np.cos(turns) * 0.55 * reach, np.sin(turns) * 0.62 * height], 1) * wobble[:, None]
    _fill(zone, pose.points(outline + middle), 255)
    return np.asarray(np.maximum(ink, zone.astype(np.float32) * np.float32(0.85 / 255)))


def _write(ink: np.ndarray, pose: Pose, lines: list[np.ndarray], weight: float) -> None:
    thickness = max(1, round(weight * pose.unit))
    fixed = [_fixed(pose.points(line)) for line in lines]
    cv2.polylines(ink, fixed, False, 255, thickness, cv2.LINE_AA, _SHIFT)


def _tone(grey: float, tint: Colour) -> Colour:
    grey = min(max(grey, 0.0), 240.0)
    return grey * tint[0], grey * tint[1], grey * tint[2]


def _fill(canvas: np.ndarray, corners: np.ndarray, colour: Colour | float) -> None:
    cv2.fillPoly(canvas, [_fixed(corners)], colour, cv2.LINE_AA, _SHIFT)


def _line(canvas: np.ndarray, points: np.ndarray, thickness: float, colour: Colour) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def _disc(canvas: np.ndarray, pose: Pose, middle: np.ndarray, radius: float, colour: Colour) -> None:
    x, y = _fixed(pose.points(middle[None]))[0].tolist()
    cv2.circle(
        canvas, (x, y), max(1, round(radius * pose.unit * (1 << _SHIFT))), colour, -1, cv2.LINE_AA, _SHIFT
    )


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(points * (1 << _SHIFT)), np.int32)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _rounded(half_wh: tuple[float, ...], radius: float) -> np.ndarray:
    """Return the outline of a rectangle with rounded corners."""
    return _QUADRANT * (np.array(half_wh, float) - radius) + _ARCS * radius


_TURNS = np.concatenate([np.linspace(0, np.pi / 2, 4) + quarter * np.pi / 2 for quarter in range(4)])
_ARCS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1)  # (16, 2)
_QUADRANT = np.repeat(np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]), 4, axis=0)  # (16, 2)

_LEAD = (
    Shape(_box(-1, -0.1, 1, 1), -12.0),
    Shape(_box(-1, 0.34, 1, 0.6), -62.0),
    Shape(_box(-1, 0.6, 1, 0.95), 14.0),
    Shape(np.array([[-0.05, 0.66], [-0.05, 0.9]]), 62.0),
    Shape(np.array([[-0.7, 0.12], [0.7, 0.12]]), 45.0),
)
_PAD = (Shape(_box(-1, -0.2, 1, 1), -6.0), Shape(_box(-0.66, -0.2, 0.66, 0.82), 24.0))
