"""How each photograph is framed against what is usual: moved, turned, nearer; and what remains different then.

A photograph is registered onto its reference by maximising their correlation under an affine map (ECC,
Evangelidis and Psarakis 2008), which light does not disturb.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.types import Array
from flawscope.data.audit.facts import SIDE, Facts
from flawscope.data.audit.usual import Peers, log_pictures, reference_pictures, templates_of

_CELLS = 8  # a side: the coarse places at which a picture agrees with its reference or not
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
_CLIPPED = 3.0  # deviations: glints and pits must not decide
_FURTHEST = 0.3  # of a side: what a first guess may move


@dataclass(frozen=True, eq=False)
class Framing:
    """A row a photograph, NaN where there is no reference or no registration.

    `shift` is (right, down) as shares of the sides; `turn` in degrees; `nearer` is the log of the
    magnification. `agreement` is the correlation with the reference as it is, `registered` after moving.
    `cells` holds the log of cell over reference, float32 (n, 64), free of the overall light.
    """

    shift: Array
    turn: Array
    nearer: Array
    agreement: Array
    registered: Array
    cells: Array


def framing_of(facts: Facts, peers: Peers, *, progress: Progress) -> Framing:
    """Register every readable photograph onto its reference."""
    count = len(facts.samples)
    found = Framing(
        np.full((count, 2), np.nan),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full((count, _CELLS**2), np.nan, np.float32),
    )
    templates = templates_of(facts, peers)
    with progress.stage("Comparing framing", len(facts.readable)) as stage:
        for row in facts.readable:
            reference = reference_pictures(facts, peers, row, templates)
            if reference is not None:
                _register(found, row, reference, log_pictures(facts.small[row : row + 1])[0])
            stage.advance()
    return found


def _register(found: Framing, row: int, reference: Array, picture: Array) -> None:
    one, other = _eased(reference), _eased(picture)
    if one.std() < 1e-3 or other.std() < 1e-3:
        return
    found.agreement[row] = _correlation(one, other)
    found.cells[row] = _cells(picture - reference)
    warp = _registration(one, other)
    if warp is None:
        return
    matrix, better = warp
    linear = matrix[:, :2]
    centre = np.full(2, (SIDE - 1) / 2)
    found.shift[row] = (linear @ centre + matrix[:, 2] - centre) / SIDE
    found.turn[row] = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    found.nearer[row] = -0.5 * np.log(max(abs(float(np.linalg.det(linear))), 1e-6))
    found.registered[row] = better
    moved = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    found.cells[row] = _cells(moved - reference)


def _registration(one: Array, other: Array) -> tuple[Array, float] | None:
    """Return the map from the reference's places to the picture's, float32 (2, 3), and the correlation there;
    None where none is found that is better than a guess."""
    window = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(one * window, other * window)
    starts = [(0.0, 0.0)]
    if 1.0 < max(abs(right), abs(down)) < _FURTHEST * SIDE:
        starts.append((right, down))
    best: tuple[Array, float] | None = None
    for x, y in starts:
        matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
        try:
            value, matrix = cv2.findTransformECC(one, other, matrix, cv2.MOTION_AFFINE, _STEPS, None, 5)
        except cv2.error:  # it did not converge
            continue
        if best is None or value > best[1]:
            best = np.asarray(matrix), float(value)
    return best


def _eased(picture: Array) -> Array:
    """Return a picture without its extremes and its mean."""
    spread = float(picture.std())
    eased = np.clip(picture - picture.mean(), -_CLIPPED * spread, _CLIPPED * spread).astype(np.float32)
    return np.asarray(eased - eased.mean())


def _correlation(one: Array, other: Array) -> float:
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum()))


def _cells(difference: Array) -> Array:
    cells = cv2.resize(difference.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells).ravel()
