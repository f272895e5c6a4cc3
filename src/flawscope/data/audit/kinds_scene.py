"""Kinds about light and camera: lighting, focus, framing, layout and strangers, told apart from one another
and from flaws. A flaw is local; what changes most places alike is no flaw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flawscope.core.types import Array
from flawscope.data.audit.findings import Action, Finding, Measure, Remedy, Severity
from flawscope.data.audit.registry import Measured, kind
from flawscope.data.audit.usual import FEWEST, Residual, mad

LIGHT_LEAST = 0.10  # of the logarithm: 10 %
LIGHT_DEVIATIONS = 6.0
_CAST_LEAST = 0.06
_BROAD = 0.6  # share of the places that must follow a change of light
_MOVED_AND_LIT = 0.15  # a moved photograph shows another share of background: only so much is light
FOCUS_LEAST = 0.30
FOCUS_DEVIATIONS = 6.0
_SHIFT_LEAST, _TURN_LEAST, _NEARER_LEAST = 0.06, 3.0, 0.10  # share of a side, degrees, logarithm
_FRAMING_DEVIATIONS = 6.0
_REGISTERED = 0.6  # correlation from which a registration is believed
_GAIN = 0.02  # of correlation that moving must bring
_LAYOUT = 0.6  # median correlation from which a product has one layout
_LAYOUT_DEVIATIONS = 3.0
_LIKE = 0.9  # correlation above which two pictures have one layout, however usual more is
STRANGE_DEVIATIONS = 3.5


@kind(
    "stranger",
    title="Another product",
    meaning="Shows something else than the rest of its folder.",
)
def stranger(measured: Measured) -> Iterator[Finding]:
    """Name photographs far from all others of their product."""
    for row in rows_of(is_strange(measured)):
        name = measured.strangeness.nearer[row]
        deviations = float(measured.strangeness.deviations[row])
        yield Finding(
            "stranger",
            Severity.ERROR if name else Severity.WARNING,
            (measured.id(row),),
            f"Looks like the product {name}" if name else "Shows something else than the others",
            "Put it where it belongs, or leave it out",
            {"deviations": deviations},
            weight=deviations,
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),) if name else (),
        )


@kind(
    "lighting",
    title="Other light",
    meaning="Brighter, darker or of another colour than its like, all over: lamp or exposure, no flaw.",
)
def lighting(measured: Measured) -> Iterator[Finding]:
    """Name photographs taken in other light."""
    strange, moved = is_strange(measured), is_moved(measured)
    off = is_lit_otherwise(measured)
    cast = measured.red.off(least=_CAST_LEAST) | measured.blue.off(least=_CAST_LEAST)
    for row in rows_of((off | cast) & ~strange):
        change = float(np.nan_to_num(measured.light.values[row]))
        if off[row] and not (moved[row] and abs(change) < _MOVED_AND_LIT):
            words = f"{abs(np.expm1(change)):.0%} {'brighter' if change > 0 else 'darker'} than its like"
        elif cast[row] and not moved[row]:
            words = "Of another colour than its like"
        else:
            continue
        red, blue = float(measured.red.values[row]), float(measured.blue.values[row])
        yield Finding(
            "lighting",
            Severity.WARNING,
            (measured.id(row),),
            words,
            "Check lamp and exposure; leave it out where the line will not see such light",
            {"gain": float(np.exp(change)), "red": red, "blue": blue},
            weight=max(abs(change), abs(red), abs(blue)),
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
        )


@kind(
    "focus", title="Out of focus", meaning="Fine detail is missing everywhere: focus, motion or a dirty lens."
)
def focus(measured: Measured) -> Iterator[Finding]:
    """Name blurred photographs."""
    for row in rows_of(is_blurred(measured) & ~is_strange(measured)):
        lost = -float(measured.sharpness.values[row])
        yield Finding(
            "focus",
            Severity.WARNING,
            (measured.id(row),),
            f"The finest details have {np.exp(-lost):.0%} of their usual share",
            "Check focus, shutter and lens; leave it out",
            {"sharpness": float(np.exp(-lost))},
            weight=lost,
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
        )


@kind(
    "framing",
    title="Moved, turned or cropped",
    meaning="The same view from elsewhere: position, angle or zoom.",
)
def framing(measured: Measured) -> Iterator[Finding]:
    """Name photographs framed otherwise than their like."""
    found = measured.framing
    for row in rows_of(is_moved(measured) & ~is_strange(measured)):
        right, down = (float(value) for value in found.shift[row])
        turn, nearer = float(found.turn[row]), float(np.exp(found.nearer[row]))
        words = [f"moved by {np.hypot(right, down):.0%} of a side"] if np.hypot(right, down) > 0.02 else []
        words += [f"turned by {abs(turn):.1f} degrees"] if abs(turn) > 1 else []
        words += [f"{nearer:.2f} times as large"] if abs(nearer - 1) > 0.04 else []
        text = ", ".join(words) or "framed otherwise"
        yield Finding(
            "framing",
            Severity.WARNING,
            (measured.id(row),),
            f"{text[0].upper()}{text[1:]}",
            "Check camera and fixture; leave it out where the line will not see such a view",
            {"right": right, "down": down, "turn_degrees": turn, "magnification": nearer},
            weight=float(np.hypot(right, down)) + abs(turn) / 20 + abs(nearer - 1),
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
        )


@kind(
    "layout",
    title="Another layout",
    meaning="Much of the picture differs from its like, in place and light alike: another variant or side.",
)
def layout(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose arrangement at large is another."""
    strange = is_strange(measured)
    for row in rows_of(is_laid_out_otherwise(measured) & ~strange):
        agreement = float(measured.framing.most[row])
        yield Finding(
            "layout",
            Severity.WARNING,
            (measured.id(row),),
            "Differs from its like in more than a flaw's share of the picture",
            "Name it as a product of its own, or leave it out",
            {"agreement": agreement},
            weight=1 - agreement,
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
        )


def rows_of(chosen: Array) -> list[int]:
    """Return the rows where a bool array is true."""
    return [int(row) for row in np.flatnonzero(chosen)]


def is_strange(measured: Measured) -> Array:
    """Return which photographs show something else, bool (n,)."""
    far = np.nan_to_num(measured.strangeness.deviations, nan=0.0) > STRANGE_DEVIATIONS
    found = measured.framing
    alike = np.fmax(np.fmax(found.agreement, found.registered), -1.0)
    far &= ~(alike >= _REGISTERED)  # the same view, in other light, out of focus, moved or with a flaw
    return np.asarray(far | np.array([bool(name) for name in measured.strangeness.nearer]))


def is_lit_otherwise(measured: Measured) -> Array:
    """Return which photographs are brighter or darker than their like in most places, bool (n,)."""
    off = measured.light.off(least=LIGHT_LEAST, deviations=LIGHT_DEVIATIONS)
    cells = measured.framing.cells
    change = np.abs(measured.light.values)[:, None]
    with np.errstate(invalid="ignore"):
        steady = (np.abs(cells - np.median(cells, axis=1, keepdims=True)) < 0.75 * change).mean(1)
    unknown = ~np.isfinite(cells).all(1)
    return np.asarray(off & ((steady >= _BROAD) | unknown | (change[:, 0] > 0.5)))


def is_blurred(measured: Measured) -> Array:
    """Return which photographs lack fine detail for a reason other than having been enlarged, bool (n,)."""
    off = measured.sharpness.off(least=FOCUS_LEAST, deviations=FOCUS_DEVIATIONS)
    enlarged = measured.scale.off(least=0.2, deviations=5.0) & (measured.scale.values > 0)
    return np.asarray(off & (measured.sharpness.values < 0) & ~enlarged)


def is_moved(measured: Measured) -> Array:
    """Return which photographs are framed otherwise, bool (n,)."""
    found, codes = measured.framing, measured.peers.codes
    believed = np.nan_to_num(found.registered, nan=0.0) >= _REGISTERED
    off = np.zeros(len(believed), bool)
    columns = (
        (np.hypot(found.shift[:, 0], found.shift[:, 1]), _SHIFT_LEAST),
        (np.abs(found.turn), _TURN_LEAST),
        (np.abs(found.nearer), _NEARER_LEAST),
    )
    families = [np.flatnonzero(believed & found.by_kin)]
    families += [
        np.flatnonzero(believed & ~found.by_kin & (codes == code)) for code in range(codes.max() + 1)
    ]
    for values, least in columns:
        for rows in families:
            if len(rows):
                usual = float(np.median(values[rows]))
                far = max(least, usual + _FRAMING_DEVIATIONS * mad(values[rows]))
                off[rows] |= values[rows] > far
    gained = np.nan_to_num(found.registered - found.agreement, nan=0.0) >= _GAIN
    return np.asarray(off & gained & ~is_laid_out_otherwise(measured))  # moving must explain it


def is_laid_out_otherwise(measured: Measured) -> Array:
    """Return which photographs differ from their like at large, wherever they are moved, bool (n,)."""
    found, codes = measured.framing, measured.peers.codes
    lacking = np.log(np.maximum(1.0 - found.most, 1e-3))
    off = np.zeros(len(codes), bool)
    families = [found.by_kin, *(~found.by_kin & (codes == code) for code in range(codes.max() + 1))]
    for family in families:
        rows = np.flatnonzero(family & np.isfinite(lacking))
        if len(rows) >= FEWEST and np.median(found.most[rows]) >= _LAYOUT:
            far = lacking[rows] - np.median(lacking[rows])
            off[rows] = (far > _LAYOUT_DEVIATIONS * max(mad(lacking[rows]), 0.1)) & (found.most[rows] < _LIKE)
    return off


def measures(measured: Measured) -> tuple[Measure, ...]:
    """Return what the page draws: light and focus of every photograph against its like."""
    return (
        _measure(
            "light", "Light against its like", measured.light,
            is_lit_otherwise(measured), (-LIGHT_LEAST, LIGHT_LEAST),
        ),
        _measure(
            "focus", "Focus against its like", measured.sharpness,
            is_blurred(measured), (-FOCUS_LEAST, None),
        ),
    )  # fmt: skip


def _measure(
    name: str,
    title: str,
    found: Residual,
    off: Array,
    least: tuple[float | None, float | None],
) -> Measure:
    return Measure(name, title, found.values, least, off)
