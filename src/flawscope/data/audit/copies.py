"""Near copies: the same photograph again, resized, recompressed, in a little more light or a little moved.

Candidates come from the hashes of small pictures (`data.near`), which is far from comparing all with all;
each candidate is then opened and compared at a finer scale, where another photograph of the same thing no
longer agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.rng import derive
from flawscope.core.types import Array
from flawscope.data.audit.facts import Facts
from flawscope.data.near import alike_pairs, small_picture
from flawscope.data.pixels import read_grey

_CANDIDATE = 0.90  # correlation of what small pictures have for themselves; the finer look decides
SAME = 0.75  # correlation of details; measured: copies .78 and more, other tiles below .5
_TRIED = 100  # pairs taken by chance that tell how far any two agree
_LACK = 0.4  # of what is missing to full agreement among the most alike of these
_SHAPE = 0.06  # of the logarithm of the aspect that a copy may differ by
_SIDE = 256  # px, the longer, at which details are compared
_DETAIL = 2.5  # px there: what is coarser is left out
_MOST_A_PICTURE = 6  # candidates that are opened for one photograph: blank ones agree with everything
_MOVED = 0.06  # of the longer side
_TIE = 0.02  # of agreement, within which two copies are equally near


@dataclass(frozen=True)
class Copy:
    """Two photographs that are one, and how far their details agree (1: the same)."""

    one: int
    other: int
    agreement: float


def exact_copies(facts: Facts) -> list[list[int]]:
    """Return the rows of photographs with the same content, at least two each."""
    same: dict[str, list[int]] = {}
    for row, sample in enumerate(facts.samples):
        if sample.sha256 and facts.looks[row] is not None:
            same.setdefault(sample.sha256, []).append(row)
    return [rows for rows in same.values() if len(rows) > 1]


def near_copies(facts: Facts, *, progress: Progress) -> list[Copy]:
    """Return near copies across parts, each photograph with the nearest only; photographs of one named part
    are alike by right, and exact copies are left to `exact_copies`."""
    first = {rows[0]: rows for rows in exact_copies(facts)}
    repeated = {row for rows in first.values() for row in rows[1:]}
    products: dict[str, list[int]] = {}
    for row in facts.readable:
        if row not in repeated:
            products.setdefault(facts.samples[row].product, []).append(row)
    found = []
    for rows in products.values():
        candidates = _candidates(facts, np.array(rows))
        least = _least(facts, rows) if candidates else SAME
        with progress.stage("Comparing copies", len(candidates)) as stage:
            for _, one, other in candidates:
                agreement = agreement_of(facts.samples[one].path, facts.samples[other].path)
                if agreement >= least:
                    found.append(Copy(one, other, agreement))
                stage.advance()
    return _nearest(found)


def _least(facts: Facts, rows: Sequence[int]) -> float:
    """Return the agreement from which two photographs of a product are one: where any two agree much already,
    copies must lack far less than those do."""
    rng = derive(facts.seed, "copies", len(rows))
    pairs = [(int(rows[i]), int(rows[j])) for i, j in rng.integers(0, len(rows), (_TRIED, 2))]
    usual = [
        agreement_of(facts.samples[one].path, facts.samples[other].path)
        for one, other in pairs
        if facts.samples[one].part_key != facts.samples[other].part_key
    ]
    return max(SAME, 1 - _LACK * (1 - float(np.quantile(usual, 0.95)))) if usual else SAME


def _candidates(facts: Facts, rows: Array) -> list[tuple[float, int, int]]:
    """Return pairs of one product worth opening, the most alike of each photograph."""
    small = np.stack([small_picture(facts.small[row]) for row in rows])
    keys: dict[str, int] = {}
    teams = np.array([keys.setdefault(facts.samples[row].part_key, len(keys)) for row in rows])
    aspects = np.array([np.log(facts.look(int(row)).size_hw).dot([1, -1]) for row in rows])
    scored = [
        (float(small[i] @ small[j]), i, j)
        for i, j in alike_pairs(small, teams, least=_CANDIDATE)
        if abs(aspects[i] - aspects[j]) < _SHAPE
    ]
    taken: dict[int, int] = {}
    kept = []
    for score, i, j in sorted(scored, reverse=True):
        if max(taken.get(i, 0), taken.get(j, 0)) < _MOST_A_PICTURE:
            taken[i], taken[j] = taken.get(i, 0) + 1, taken.get(j, 0) + 1
            kept.append((score, int(rows[i]), int(rows[j])))
    return kept


def _nearest(copies: Sequence[Copy]) -> list[Copy]:
    """Keep the pairs that are (nearly) the nearest of both their photographs."""
    best: dict[int, float] = {}
    for copy in copies:
        for row in (copy.one, copy.other):
            best[row] = max(best.get(row, 0.0), copy.agreement)
    return [c for c in copies if c.agreement >= max(best[c.one], best[c.other]) - _TIE]


def agreement_of(one: str, other: str) -> float:
    """Return the correlation of two photographs' details, moved onto each other by a small shift where that
    is better; 0 where one cannot be read or they show no detail."""
    first, second = read_grey(Path(one)), read_grey(Path(other))
    if first is None or second is None:
        return 0.0
    height, width = min(first.shape, second.shape, key=lambda shape: shape[0] * shape[1])
    scale = min(1.0, _SIDE / max(height, width))
    size_wh = max(24, round(width * scale)), max(24, round(height * scale))
    left, right = _details(first, size_wh), _details(second, size_wh)
    (x, y), _ = cv2.phaseCorrelate(left, right, cv2.createHanningWindow(size_wh, cv2.CV_32F))
    plain = _correlation(left, right)
    if not 0.05 < np.hypot(x, y) < _MOVED * max(size_wh):
        return plain
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(
        right, matrix, size_wh, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    return max(plain, _correlation(left, np.asarray(moved)))


def _details(grey: Array, size_wh: tuple[int, int]) -> Array:
    small = cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
    logs = cv2.GaussianBlur(np.log(small + 8.0), (0, 0), 0.8)
    details = logs - cv2.GaussianBlur(logs, (0, 0), _DETAIL)
    spread = 3 * float(details.std())
    return np.asarray(np.clip(details, -spread, spread), np.float32)


def _correlation(one: Array, other: Array) -> float:
    rim = max(2, min(one.shape) // 20)
    one, other = (piece[rim:-rim, rim:-rim] for piece in (one, other))
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / lengths if lengths > 1e-6 else 0.0
