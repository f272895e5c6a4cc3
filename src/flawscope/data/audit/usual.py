"""What is usual, told by robust statistics: of photographs of the same part that look alike, where there are
some, else of the group, else of all photographs taken under the same setting.

A value is taken apart into what the setting (camera, exposure) does, what the part does, and what is left;
medians throughout, so that the odd ones do not shift what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Array
from flawscope.data.audit.facts import Facts
from flawscope.data.splits import group_key

_ALIKE = 0.2  # correlation of small pictures from which photographs of one part show the same view
_NEARLY = 0.4  # of correlation below the most alike
_SAME_SHAPE = 0.25  # of the logarithm of the aspect
_ROUNDS = 4  # of taking settings and parts out in turn: medians settle in two or three
_FEWEST_KIN = 2
_FEWEST_COMPANY = 2
_COMPANY = 0.08  # of a logarithm: kin that are so near share a value
_FEWEST_GROUP = 6  # photographs of a group that tell what is usual in it
FEWEST = 8  # photographs of a setting that tell what is usual under it
_MAD = 1.4826  # of a median absolute deviation, to compare with a standard deviation


@dataclass(frozen=True, eq=False)
class Peers:
    """Whom each photograph is compared with: the code of its setting, int (n,), and the rows of its kin, a
    (possibly empty) array a row. `codes` is -1 for what could not be read."""

    codes: Array
    kin: tuple[Array, ...]
    group_of: Array  # int (n,), -1: none large enough

    def by_setting(self) -> Peers:
        """Return the peers with settings alone: for what does not depend on what is photographed."""
        nobody = np.zeros(0, int)
        return Peers(self.codes, (nobody,) * len(self.codes), np.full(len(self.codes), -1))


@dataclass(frozen=True, eq=False)
class Residual:
    """How far each photograph is from what is usual for it, and the usual spread of its like; NaN where
    nothing says what is usual."""

    values: Array  # float64 (n,)
    spread: Array  # float64 (n,)

    def off(self, *, least: float, deviations: float = 6.0) -> Array:
        """Return which are off: at least so far, and so many spreads, bool (n,)."""
        far = np.nan_to_num(np.abs(self.values), nan=0.0)
        return np.asarray(far > np.maximum(least, deviations * np.nan_to_num(self.spread, nan=np.inf)))


def mad(values: Array) -> float:
    """Return the median absolute deviation, scaled to compare with a standard deviation; 0 for none."""
    return float(_MAD * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def alike_pictures(small: Array) -> Array:
    """Return small pictures as unit vectors float32 (n, 1024), free of brightness and contrast."""
    rows = np.zeros((len(small), 32 * 32), np.float32)
    for row, picture in enumerate(small):
        half = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        logs = np.log(half + 4.0).ravel()
        logs -= logs.mean()
        rows[row] = logs / max(float(np.linalg.norm(logs)), 1e-6)
    return rows


def peers_of(facts: Facts) -> Peers:
    """Find for each readable photograph its setting, its kin and its group."""
    count = len(facts.samples)
    names: dict[tuple[str, str], int] = {}
    codes = np.full(count, -1)
    for row in facts.readable:
        key = (facts.samples[row].product, facts.settings[row])
        codes[row] = names.setdefault(key, len(names))
    kin: list[Array] = [np.zeros(0, int)] * count
    parts: dict[str, list[int]] = {}
    groups: dict[tuple[str, int], list[int]] = {}
    for row in facts.readable:
        parts.setdefault(facts.samples[row].part_key, []).append(row)
        group = group_key(facts.samples[row])
        if group is not None:
            groups.setdefault((group, int(codes[row])), []).append(row)
    for rows in parts.values():
        if len(rows) > _FEWEST_KIN:
            for row, others in _kin_within(np.array(rows), facts):
                kin[row] = others
    group_of = np.full(count, -1)
    for number, rows in enumerate(groups.values()):
        if len(rows) >= _FEWEST_GROUP:
            group_of[rows] = number
    return Peers(codes, tuple(kin), group_of)


def _kin_within(rows: Array, facts: Facts) -> list[tuple[int, Array]]:
    """Return, of the photographs of one part, each with those that show the same view."""
    pictures = alike_pictures(facts.small[rows])
    aspects = np.array([np.log(facts.look(int(row)).size_hw).dot([1, -1]) for row in rows])
    likeness = pictures @ pictures.T
    np.fill_diagonal(likeness, -1.0)
    likeness[np.abs(aspects[:, None] - aspects[None]) >= _SAME_SHAPE] = -1.0
    # a part may have several views that are somewhat alike: the most alike set the standard
    alike = likeness > np.maximum(_ALIKE, likeness.max(axis=1, keepdims=True) - _NEARLY)
    return [(int(row), rows[alike[place]]) for place, row in enumerate(rows)]


def residuals(values: Sequence[float] | Array, peers: Peers) -> Residual:
    """Take apart `values` float (n,), NaN where unknown, and return what is left of each."""
    given = np.asarray(values, np.float64)
    known = np.isfinite(given) & (peers.codes >= 0)
    base = np.zeros(len(given))
    effect = np.zeros(len(given))
    kin = [rows[known[rows]] for rows in peers.kin]
    has_kin = known & np.array([len(rows) >= _FEWEST_KIN for rows in kin], bool)
    grouped = (peers.group_of >= 0) & known & ~has_kin
    settings = [np.flatnonzero(known & (peers.codes == code)) for code in range(peers.codes.max() + 1)]
    groups = [
        np.flatnonzero(grouped & (peers.group_of == code)) for code in np.unique(peers.group_of[grouped])
    ]
    for _ in range(_ROUNDS):
        for rows in settings:
            if len(rows):
                effect[rows] = np.median((given - base)[rows])
        left = given - effect
        for row in np.flatnonzero(has_kin):
            base[row] = np.median(left[kin[row]])
        for rows in groups:
            base[rows] = np.median(left[rows])
    rest = np.where(known, given - effect - base, np.nan)
    left = given - effect
    for row in np.flatnonzero(has_kin):
        company = kin[row][np.abs(left[kin[row]] - left[row]) < _COMPANY]
        # not odd, but one of a second usual value: another view of the part. Of two kin one may be odd
        if len(company) >= (_FEWEST_COMPANY if len(kin[row]) > _FEWEST_KIN else 1):
            rest[row] = left[row] - np.median(left[company])
    spread = np.full(len(given), np.nan)
    for family in (has_kin, grouped):
        if family.any():
            spread[family] = mad(rest[family])
    for rows in settings:
        alone = rows[~(has_kin | grouped)[rows]]
        if len(rows) >= FEWEST:
            spread[alone] = mad(rest[alone])
        else:
            rest[alone] = np.nan
    return Residual(rest, spread)


def log_pictures(small: Array) -> Array:
    """Return small pictures as logarithms without their median, float32 (n, SIDE, SIDE)."""
    logs = np.log(small.astype(np.float32) + 4.0)
    return np.asarray(logs - np.median(logs, axis=(1, 2), keepdims=True))


def templates_of(facts: Facts, peers: Peers, *, most: int = 400) -> dict[int, Array]:
    """Return the median log picture of each setting that has photographs enough, by its code; of many, an
    even share is taken."""
    found = {}
    for code in range(peers.codes.max() + 1):
        rows = np.flatnonzero(peers.codes == code)
        if len(rows) >= FEWEST:
            taken = rows[:: max(1, len(rows) // most)]
            found[code] = np.median(log_pictures(facts.small[taken]), axis=0)
    return found
