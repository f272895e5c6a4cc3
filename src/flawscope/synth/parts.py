"""What a chip is, a lot looks like and a single part differs in: plain numbers, drawn by `scene`.

Lengths are in design units: 256 x 192 of them fill a picture of the aspect 4 : 3, so that everything
scales with the size.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from flawscope.core.rng import derive
from flawscope.synth import glyphs

LOTS = 2300  # A00 to Z99, without I, O and Q
PACKAGES = ("two_sides", "four_sides", "pads")
SIDES = ("top", "bottom", "left", "right")
MARKING_FAULTS = ("double", "smeared", "tilted", "foreign", "blotted")


@dataclass(frozen=True)
class Design:
    """A product: what all its parts share."""

    package: str  # one of PACKAGES
    code: str  # first line of the marking
    half_wh: tuple[float, float]  # of the body
    terminals: tuple[int, int]  # on the top and bottom sides, on the left and right sides
    pitch: float
    terminal_wl: tuple[float, float]  # width and length of a lead or pad
    text_height: float


@dataclass(frozen=True)
class Look:
    """How the camera sees parts: light, colour, place, focus, noise; tones are grey levels."""

    gain: float = 1.0
    gradient_xy: tuple[float, float] = (0.0, 0.0)  # relative change of light from the centre to the border
    cast_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift_xy: tuple[float, float] = (0.0, 0.0)  # of the carrier
    turn: float = 0.0  # of the carrier, radians
    focus: float = 0.8  # standard deviation of the blur
    noise: float = 2.0  # standard deviation, grey levels
    body: float = 66.0
    carrier: float = 104.0
    ink: float = 176.0
    metal: float = 176.0


@dataclass(frozen=True)
class Lot:
    """Parts made and photographed together."""

    name: str  # a letter and two digits, printed on the parts
    design: Design
    look: Look


@dataclass(frozen=True)
class Terminal:
    """One lead or pad: its side, its place along it, and how it was bent."""

    side: str
    place: float  # from the middle of the side
    tone: float = 0.0  # grey levels, by how its faces meet the light
    present: bool = True
    turn: float = 0.0  # radians
    slip: float = 0.0  # sideways
    reach: float = 1.0  # of its length


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that is to be drawn of one part, before any photograph is taken."""

    lot: Lot
    look: Look  # the lot's, with this part's own deviations
    terminals: tuple[Terminal, ...]
    lines: tuple[str, str]
    seat_xy: tuple[float, float]  # of the part in its pocket
    seat_turn: float
    text_offset_xy: tuple[float, float]
    text_turn: float
    grain: int  # seed of the surfaces
    bites: tuple[np.ndarray, ...] = field(default=())  # outlines (n, 2) of what broke off the body
    bite_tone: float = 0.0
    marking_fault: str = ""  # one of MARKING_FAULTS
    fault_values: tuple[float, float, float] = (0.0, 0.0, 0.0)  # three numbers in 0..1 that shape the fault


def design_of(seed: int, *, package: str | None = None) -> Design:
    """Return the product of a seed. Raises ValueError for a package that is not one of `PACKAGES`."""
    rng = derive(seed, "design")
    drawn = PACKAGES[rng.integers(len(PACKAGES))]
    package = package or drawn
    letters = "".join(rng.choice(list(glyphs.LETTERS), 2))
    digits = "".join(rng.choice(list(glyphs.DIGITS), 3))
    code = f"{letters}{digits}-{glyphs.LETTERS[rng.integers(len(glyphs.LETTERS))]}"
    if package == "two_sides":
        return Design(package, code, (74, 38), (7, 0), 20.5, (9.4, 23), 15)
    if package == "four_sides":
        return Design(package, code, (70, 44), (7, 4), 19, (9, 19), 14)
    if package == "pads":
        return Design(package, code, (72, 50), (7, 5), 19, (11, 12), 14.5)
    raise ValueError(f"a package is one of {', '.join(PACKAGES)}, not {package!r}")


def lot_of(design: Design, seed: int, *, number: int) -> Lot:
    """Return lot `number` (0 to 2,299, named A00 to Z99) of a design with its light, colour and place."""
    rng = derive(seed, "lot", number)
    letter, digits = divmod(number, 100)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.10)
    look = Look(
        gain=float(np.exp(rng.uniform(-0.07, 0.07))),
        gradient_xy=(float(strength * np.cos(angle)), float(strength * np.sin(angle))),
        cast_rgb=_triple(1 + rng.uniform(-0.015, 0.015, 3)),
        shift_xy=_pair(rng.uniform(-4, 4, 2)),
        turn=float(rng.uniform(-1, 1) * np.deg2rad(0.8)),
        focus=float(rng.uniform(0.55, 0.8)),
        noise=float(rng.uniform(1.3, 2.1)),
        body=66 + float(rng.uniform(-4, 4)),
        carrier=104 + float(rng.uniform(-6, 6)),
        ink=176 + float(rng.uniform(-9, 9)),
        metal=176 + float(rng.uniform(-8, 8)),
    )
    return Lot(f"{glyphs.LETTERS[letter]}{digits:02d}", design, look)


def plan_of(lot: Lot, rng: Generator) -> Plan:
    """Return one good part of a lot: its serial number, its seat in the pocket and its small deviations."""
    design, base = lot.design, lot.look
    moved = rng.normal(0, 1, 12)
    look = replace(
        base,
        gain=base.gain * float(np.exp(0.015 * moved[0])),
        shift_xy=(base.shift_xy[0] + 1.5 * float(moved[1]), base.shift_xy[1] + 1.2 * float(moved[2])),
        turn=base.turn + float(np.deg2rad(0.3) * moved[3]),
        focus=base.focus * float(np.exp(0.04 * moved[4])),
        body=base.body + 1.2 * float(moved[5]),
        ink=base.ink + 4 * float(moved[6]),
    )
    serial = "".join(rng.choice(list(glyphs.DIGITS), 4))
    counts = (design.terminals[0], design.terminals[0], design.terminals[1], design.terminals[1])
    terminals = tuple(
        Terminal(side, (index - (count - 1) / 2) * design.pitch, float(rng.normal(0, 3)))
        for side, count in zip(SIDES, counts, strict=True)
        for index in range(count)
    )
    return Plan(
        lot=lot,
        look=look,
        terminals=terminals,
        lines=(design.code, f"{lot.name}{glyphs.LETTERS[rng.integers(len(glyphs.LETTERS))]}{serial}"),
        seat_xy=(1.8 * float(moved[7]), 1.8 * float(moved[8])),
        seat_turn=float(np.deg2rad(0.7) * moved[9]),
        text_offset_xy=(1.2 * float(moved[10]), 0.9 * float(moved[11])),
        text_turn=float(rng.normal(0, np.deg2rad(0.4))),
        grain=int(rng.integers(2**62)),
    )


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
