"""How each photograph is framed against what is usual: moved, turned, nearer; and what still differs then.

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
from flawscope.data.audit.usual import Peers, log_pictures, templates_of

_CELLS = 8  # a side: the coarse places at which a picture agrees with its reference or not
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
_FLAW_SHARE = 0.2  # of the picture that a flaw may change without being a layout
_CLIPPED = 3.0  # deviations: glints and pits must not decide
_FEWEST_KIN, _MOST_KIN = 2, 16
_ADOPTED = 0.8  # correlation once moved from which two photographs of a part show one view
_MOST_TURN, _MOST_NEARER, _MOST_SHIFT = 25.0, 0.5, 0.4  # degrees, logarithm, share: beyond is no registration
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
    most: Array  # float64 (n,): the correlation where they agree best, without a fifth of the places
    by_kin: Array  # bool (n,): compared with photographs of its part, not with the setting's template


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
        np.full(count, np.nan),
        np.zeros(count, bool),
    )
    mates: dict[str, list[int]] = {}
    for row in facts.readable:
        mates.setdefault(facts.samples[row].part_key, []).append(row)
    templates = templates_of(facts, peers)
    with progress.stage("Comparing framing", len(facts.readable)) as stage:
        for row in facts.readable:
            picture = log_pictures(facts.small[row : row + 1])[0]
            size_hw = facts.look(row).size_hw
            kin = peers.kin[row]
            if len(kin) < _FEWEST_KIN:  # one that was moved is like none of its part, until it is moved back
                kin = _adopted(facts, peers, row, mates[facts.samples[row].part_key], picture)
            if len(kin) >= _FEWEST_KIN:
                found.by_kin[row] = True
                _register(found, row, _median_picture(facts, kin), picture, size_hw)
            elif (template := templates.get(int(peers.codes[row]))) is not None:
                _register(found, row, template, picture, size_hw)
            stage.advance()
    return found


def _median_picture(facts: Facts, rows: Array) -> Array:
    return np.asarray(np.median(log_pictures(facts.small[rows[:_MOST_KIN]]), axis=0))


def _adopted(facts: Facts, peers: Peers, row: int, mates: list[int], picture: Array) -> Array:
    """Return the kin of that photograph of the same part onto which this one registers best, if well."""
    tall, wide = facts.look(row).size_hw
    tried: list[tuple[float, int]] = []
    for mate in mates[:_MOST_KIN]:
        height, width = facts.look(mate).size_hw
        if (
            mate == row
            or len(peers.kin[mate]) < _FEWEST_KIN
            or abs(np.log(height * wide / (width * tall))) > 0.12
        ):
            continue
        one, other = eased(_median_picture(facts, peers.kin[mate])), eased(picture)
        warp = _registration(one, other) if one.std() > 1e-3 and other.std() > 1e-3 else None
        if warp is not None:
            tried.append((warp[1], mate))
    value, best = max(tried, default=(0.0, row))
    return peers.kin[best] if value >= _ADOPTED else np.zeros(0, int)


def _register(found: Framing, row: int, reference: Array, picture: Array, size_hw: tuple[int, int]) -> None:
    one, other = eased(reference), eased(picture)
    if one.std() < 1e-3 or other.std() < 1e-3:
        return
    found.agreement[row] = _correlation(one, other)
    found.cells[row] = _cells(picture - reference)
    found.most[row] = most_alike(one, other)
    warp = _registration(one, other)
    if warp is None:
        return
    matrix, better = warp
    centre = np.full(2, (SIDE - 1) / 2)
    shift = (matrix[:, :2] @ centre + matrix[:, 2] - centre) / SIDE
    aspect = np.array([size_hw[1], size_hw[0]], float)  # small pictures are square, turns are not
    linear = matrix[:, :2] * aspect[:, None] / aspect[None]
    turn = float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    nearer = -0.5 * float(np.log(max(abs(float(np.linalg.det(linear))), 1e-6)))
    if abs(turn) > _MOST_TURN or abs(nearer) > _MOST_NEARER or np.abs(shift).max() > _MOST_SHIFT:
        return
    found.shift[row], found.turn[row], found.nearer[row], found.registered[row] = shift, turn, nearer, better
    moved = cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    found.cells[row] = _cells(moved - reference)
    found.most[row] = max(found.most[row], most_alike(one, eased(np.asarray(moved))))


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


def eased(picture: Array) -> Array:
    """Return a picture without its extremes and its mean."""
    spread = float(picture.std())
    eased = np.clip(picture - picture.mean(), -_CLIPPED * spread, _CLIPPED * spread).astype(np.float32)
    return np.asarray(eased - eased.mean())


def _correlation(one: Array, other: Array) -> float:
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum()))


def most_alike(one: Array, other: Array) -> float:
    """Return the correlation without the places that differ most: what a flaw covers does not count."""
    first, second = one / max(float(one.std()), 1e-6), other / max(float(other.std()), 1e-6)
    apart = np.abs(first - second)
    kept = apart <= np.quantile(apart, 1 - _FLAW_SHARE)
    return _correlation(first[kept] - first[kept].mean(), second[kept] - second[kept].mean())


def _cells(difference: Array) -> Array:
    cells = cv2.resize(difference.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells).ravel()
