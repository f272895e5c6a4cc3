"""The demo's product: photographs of chips in a carrier tape, good or with one named defect and its mask.

The defects' areas and strengths follow log-uniform laws (`LAWS`); what came out is measured on the picture
drawn with and without the defect, light, lens and noise included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.random import Generator

from flawscope.core.errors import DataError, UsageError
from flawscope.core.rng import derive
from flawscope.core.types import GOOD
from flawscope.synth import defects, scene
from flawscope.synth.parts import MARKING_FAULTS, Look, Lot, Plan, plan_of

Size = tuple[int, int]

DEFECTS = (
    "scratch",
    "crack",
    "chipped_edge",
    "contamination",
    "missing_pad",
    "bent_lead",
    "discoloration",
    "wrong_marking",
)
SHIFTS = ("lighting_shift", "layout_shift")
VISIBLE = 4.0  # grey levels of change from which a pixel belongs to the mask
_LEAST_PX = 5  # a mask of fewer pixels is drawn anew, stronger
_TRIES = 8


@dataclass(frozen=True)
class Law:
    """The log-uniform laws of a defect's area (share of the picture) and contrast (grey levels)."""

    area_share: tuple[float, float]
    contrast: tuple[float, float]


LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "scratch": Law((0.003, 0.010), (32, 100)),
        "crack": Law((0.003, 0.010), (40, 66)),
        "chipped_edge": Law((0.003, 0.014), (36, 90)),
        "contamination": Law((0.004, 0.020), (44, 110)),
        "discoloration": Law((0.014, 0.060), (22, 50)),
    }
)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn photograph and what is true of it."""

    pixels: np.ndarray  # uint8 (H, W, 3) RGB
    mask: np.ndarray | None  # bool (H, W); None for good parts and shifts
    label: str  # GOOD, one of DEFECTS or one of SHIFTS
    contrast: (
        float  # mean absolute change over the mask (shifts: over the picture), grey levels; 0 for good parts
    )
    area_px: int  # of the mask
    lot: str

    @property
    def is_shift(self) -> bool:
        """Whether the picture, not the part, is odd."""
        return self.label in SHIFTS


def draw_chip(
    seed: int,
    size_hw: Size,
    *,
    lot: Lot,
    index: int = 0,
    defect: str | None = None,
    severity: float | None = None,
) -> Drawn:
    """Draw part `index` of a lot, good or with one of `DEFECTS` or `SHIFTS`.

    The same seed and index give the same part, light and noise whatever the defect. `severity` in 0..1
    says where in its law a defect lies; None draws it. Raises UsageError for an unknown defect, a picture
    under 32 or over 8192 pixels a side, or a severity out of range.
    """
    _check(size_hw, defect, severity)
    plan = plan_of(lot, derive(seed, "part", index))
    clean = scene.render(plan, size_hw)
    light = scene.photograph(clean.pixels, plan.look)
    if defect is None:
        pixels = _exposed(light, plan.look, seed, index)
        return Drawn(pixels, None, GOOD, 0.0, 0, lot.name)
    before = _exposed(light, plan.look, seed, index)
    if defect in SHIFTS:
        shifted = _shifted(plan, defect, derive(seed, "flaw", index), severity)
        picture = clean if defect == "lighting_shift" else scene.render(shifted, size_hw)
        after = _exposed(scene.photograph(picture.pixels, shifted.look), plan.look, seed, index)
        change = float(cv2.absdiff(before, after).mean())
        return Drawn(after, None, defect, change, 0, lot.name)
    for attempt in range(_TRIES):
        rng = derive(seed, "flaw", index, attempt)
        law = _Draw(rng, severity, 1.25**attempt)
        marred = _marred(plan, clean, defect, law)
        light_after = scene.photograph(marred, plan.look)
        mask = _largest_change(light, light_after) >= VISIBLE
        if int(mask.sum()) >= _LEAST_PX:
            after = _exposed(light_after, plan.look, seed, index)
            contrast = float(np.mean(cv2.mean(cv2.absdiff(before, after), mask.astype(np.uint8))[:3]))
            return Drawn(after, mask, defect, contrast, int(mask.sum()), lot.name)
    raise DataError(
        f"the defect {defect!r} of part {index}",
        expected=f"a change of {_LEAST_PX} visible pixels in {_TRIES} tries",
        found="none",
        remedy="draw larger pictures",
    )


@dataclass(frozen=True, eq=False)
class _Draw:
    """A generator with the wished severity and, after failed tries, more strength."""

    rng: Generator
    severity: float | None
    boost: float

    def between(self, low: float, high: float) -> float:
        """Return a log-uniform number, or the one at the wished severity."""
        share = float(self.rng.random())
        if self.severity is not None:
            share = self.severity
        return float(low * (high / low) ** share) * self.boost


def _marred(plan: Plan, clean: scene.Scene, defect: str, law: _Draw) -> np.ndarray:
    """Return the scene with the defect, uint8 RGB."""
    size_hw = clean.body.shape
    if defect in ("missing_pad", "bent_lead"):
        return scene.render(_spoilt_terminals(plan, defect, law), size_hw).pixels
    if defect == "wrong_marking":
        fault = MARKING_FAULTS[law.rng.integers(len(MARKING_FAULTS))]
        one, two, three = law.rng.random(3).tolist()
        spoilt = replace(plan, marking_fault=fault, fault_values=(one, two, three))
        return scene.render(spoilt, size_hw).pixels
    if defect == "chipped_edge":
        return scene.render(_chipped(plan, size_hw, law), size_hw).pixels
    values = LAWS[defect]
    area = law.between(*values.area_share) * size_hw[0] * size_hw[1]
    where = _allowed(plan, clean, defect, law.rng)
    wish = defects.Wish(max(area, 6.0), law.between(*values.contrast), where)
    return defects.PAINTERS[defect](clean.pixels, law.rng, wish=wish).pixels


def _allowed(plan: Plan, clean: scene.Scene, defect: str, rng: Generator) -> np.ndarray:
    """Return where a painted defect may lie: on the body, or (contamination, discoloration) beside it too."""
    on_body = clean.body > 127
    if defect in ("scratch", "crack") or rng.random() < 0.5:
        return on_body
    _, part = scene.poses(plan, clean.body.shape)
    half_w, half_h = plan.lot.design.half_wh
    reach = plan.lot.design.terminal_wl[1]
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (half_w + reach, half_h + reach)
    around = np.zeros(clean.body.shape, np.uint8)
    cv2.fillConvexPoly(around, np.round(part.points(corners)).astype(np.int32), 255)
    wider = around > 0
    return wider if wider.any() else np.ones_like(on_body)


def _spoilt_terminals(plan: Plan, defect: str, law: _Draw) -> Plan:
    rng, terminals = law.rng, list(plan.terminals)
    first = int(rng.integers(len(terminals)))
    count = int(rng.integers(1, 3))
    neighbours = [
        k for k in (first, first + 1) if k < len(terminals) and terminals[k].side == terminals[first].side
    ]
    for k in neighbours[:count]:
        if defect == "missing_pad":
            stub = rng.random() < 0.3
            terminals[k] = replace(terminals[k], present=stub, reach=0.35)
            continue
        way = float(rng.choice([-1.0, 1.0]))
        turn = min(law.between(0.5, 0.9), 1.0)
        slip = way * plan.lot.design.terminal_wl[0] * float(rng.uniform(0.1, 0.5))
        reach = float(rng.uniform(1.05, 1.4))
        terminals[k] = replace(terminals[k], turn=way * turn, slip=slip, reach=reach)
    return replace(plan, terminals=tuple(terminals))


def _chipped(plan: Plan, size_hw: Size, law: _Draw) -> Plan:
    """Return the plan with a bite out of an edge or a corner of the body."""
    rng, values = law.rng, LAWS["chipped_edge"]
    unit = min(size_hw[0] / 192, size_hw[1] / 256)
    area = law.between(*values.area_share) * size_hw[0] * size_hw[1] / unit**2
    radius = np.sqrt(2 * area / np.pi)  # about half of the outline lies inside the body
    half = np.array(plan.lot.design.half_wh)
    along = np.array([rng.uniform(-1, 1), rng.choice([-1.0, 1.0])])
    middle = half * (along if rng.random() < half[0] / half.sum() else along[::-1])
    if rng.random() < 0.35:
        middle, radius = half * rng.choice([-1.0, 1.0], 2), radius * 1.35
    turns = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    reach = radius * np.clip(1 + rng.normal(0, 0.2, 26), 0.5, 1.5)
    outline = middle + np.stack([np.cos(turns), np.sin(turns)], 1) * reach[:, None]
    tone = law.between(*values.contrast)
    return replace(plan, bites=(outline,), bite_tone=min(tone, 150.0))


def _shifted(plan: Plan, kind: str, rng: Generator, severity: float | None) -> Plan:
    """Return the plan with another light, or with everything elsewhere; nothing is wrong with the part."""
    law = _Draw(rng, severity, 1.0)
    look: Look = plan.look
    way = float(rng.choice([-1.0, 1.0]))
    angle = float(rng.uniform(0, 2 * np.pi))
    if kind == "lighting_shift":
        strength = law.between(0.25, 0.5)
        tint = 1 + way * strength * 0.3 * np.array([1.0, 0.0, -1.0])
        red, green, blue = (np.array(look.cast_rgb) * tint).tolist()
        return replace(
            plan,
            look=replace(
                look,
                gain=look.gain * float(np.exp(way * law.between(0.25, 0.6))),
                gradient_xy=(strength * np.cos(angle), strength * np.sin(angle)),
                cast_rgb=(red, green, blue),
            ),
        )
    distance = law.between(14, 36)
    x, y = look.shift_xy
    moved = (x + distance * np.cos(angle), y + distance * np.sin(angle))
    turn = look.turn + way * law.between(0.07, 0.25)
    return replace(plan, look=replace(look, shift_xy=moved, turn=turn))


def _exposed(light: np.ndarray, look: Look, seed: int, index: int) -> np.ndarray:
    return scene.exposed(light, derive(seed, "sensor", index), noise=look.noise)


def _largest_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the largest change of the three channels, float32 (H, W)."""
    red, green, blue = cv2.split(cv2.absdiff(before, after))
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _check(size_hw: Size, defect: str | None, severity: float | None) -> None:
    if min(size_hw) < 32 or max(size_hw) > 8192:
        raise UsageError(
            "the size of the drawn pictures",
            expected="32 to 8192 pixels a side",
            found=f"{size_hw[1]}x{size_hw[0]}",
        )
    if defect is not None and defect not in DEFECTS + SHIFTS:
        raise UsageError("the defect", expected=f"one of {', '.join(DEFECTS + SHIFTS)}", found=repr(defect))
    if severity is not None and not 0 <= severity <= 1:
        raise UsageError("the severity", expected="0 to 1", found=str(severity))
