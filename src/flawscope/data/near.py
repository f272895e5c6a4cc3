"""Near-duplicates: the same photograph again after re-encoding, scaling or another exposure.

Photographs of one product all look alike, so what they have in common (the median picture) is taken off
first; what is left is hashed (64 signs of its DCT, after Zauner's pHash, 2010), candidates are found by
buckets of 8 bits, and a pair counts only where what is left correlates almost fully.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Sample
from flawscope.data.pixels import read_grey

SIDE = 32  # of the small picture, in pixels
CORRELATION = (
    0.96  # of what is left; measured: other tiles reach .941, JPEG copies at quality 40 fall to .969
)
MANY = 16  # from so many pictures on, their median says what all have in common
_BANDS = 8  # of 8 bits: two hashes with at most 7 different bits agree in one band at least
_BLOCK = 2048  # members of a bucket that are compared at a time
_FEW_CORRELATION = 0.995  # where too few pictures say what all have in common


def near_duplicates(
    samples: Sequence[Sample], teams: Sequence[str], *, progress: Progress | None = None
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the pairs (i, j), i < j, of near-duplicates in different teams, and the unreadable images.

    `teams` says for each sample which images it is not compared with: its own. Products are looked at one by
    one; those of a single team are not read at all.
    """
    sides: dict[str, set[str]] = {}
    for sample, team in zip(samples, teams, strict=True):
        sides.setdefault(sample.product, set()).add(team)
    looked = [i for i, sample in enumerate(samples) if len(sides[sample.product]) > 1]
    small, missed = _small_pictures([samples[i] for i in looked], progress or Silent())
    unread = [looked[place] for place in missed]
    products: dict[str, list[int]] = {}
    for place in sorted(set(range(len(looked))) - set(missed)):
        products.setdefault(samples[looked[place]].product, []).append(place)
    numbers = {team: n for n, team in enumerate(sorted(set(teams)))}
    codes = np.array([numbers[teams[i]] for i in looked], np.int64)
    pairs: list[tuple[int, int]] = []
    for members in products.values():
        index = np.array(members, np.int64)
        for one, other in alike_pairs(small[index], codes[index]):
            pairs.append((looked[index[one]], looked[index[other]]))
    return sorted(pairs), unread


def alike_pairs(
    small: np.ndarray, teams: np.ndarray, *, least: float | None = None
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows of different teams that look like copies: `small` holds what `small_picture`
    returns, float32 (n, SIDE * SIDE), of one product. `least` is the correlation asked for where there are
    pictures enough to say what they have in common."""
    left, usual = _distinctive(small)
    yield from _close_pairs(left, teams, usual if least is None or len(small) < MANY else least)


def _small_pictures(samples: Sequence[Sample], progress: Progress) -> tuple[np.ndarray, list[int]]:
    small = np.zeros((len(samples), SIDE * SIDE), np.float32)
    unread: list[int] = []
    with progress.stage("Looking for copies", len(samples)) as stage, ThreadPoolExecutor() as pool:
        for i, picture in enumerate(pool.map(_small_picture, samples)):
            if picture is None:
                unread.append(i)
            else:
                small[i] = picture
            stage.advance()
    return small, unread


def _small_picture(sample: Sample) -> np.ndarray | None:
    """Read an image and return it small, or None where it cannot be read."""
    grey = read_grey(Path(sample.path), at_least=2 * SIDE)
    return None if grey is None else small_picture(grey)


def small_picture(grey: np.ndarray) -> np.ndarray:
    """Return a grey image uint8 (H, W) as float32 (SIDE * SIDE,), without mean and of unit length; a blank
    image is all 0."""
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    picture: np.ndarray = _unit((small - small.mean())[None])[0]
    return picture


def _unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to unit length; rows that hold nothing but rounding become 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-3)
    return scaled


def _distinctive(small: np.ndarray) -> tuple[np.ndarray, float]:
    """Take off what the pictures (n, SIDE * SIDE) have in common; return the rest and the least
    correlation of copies."""
    if len(small) < MANY:
        return small, _FEW_CORRELATION
    rest = small - np.median(small, axis=0, keepdims=True)
    return _unit(rest - rest.mean(axis=1, keepdims=True)), CORRELATION


def _hashes(pictures: np.ndarray) -> np.ndarray:
    """Return the hash of each picture as uint8 (n, 8): the signs of 64 low frequencies about their median."""
    found = np.zeros((len(pictures), _BANDS), np.uint8)
    for i, picture in enumerate(pictures):
        low = cv2.dct(picture.reshape(SIDE, SIDE))[:8, :8].ravel()
        found[i] = np.packbits(low > np.median(low[1:]))
    return found


def _close_pairs(pictures: np.ndarray, teams: np.ndarray, least: float) -> Iterator[tuple[int, int]]:
    """Yield each pair once: different teams, one band of the hash the same, correlated by `least` or more."""
    hashes = _hashes(pictures)
    seen = pictures.any(axis=1)  # blank pictures are like nothing
    for band in range(_BANDS):
        order = np.flatnonzero(seen)[np.argsort(hashes[seen, band], kind="stable")]
        edges = np.flatnonzero(np.diff(hashes[order, band])) + 1
        for bucket in np.split(order, edges):
            for one, other in _pairs_of_bucket(bucket, pictures, teams, least):
                # Found by an earlier band already?
                if not (hashes[one, :band] == hashes[other, :band]).any():
                    yield min(one, other), max(one, other)


def _pairs_of_bucket(
    bucket: np.ndarray, pictures: np.ndarray, teams: np.ndarray, least: float
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of a bucket that are of different teams and correlate, compared block by block."""
    for start in range(0, len(bucket), _BLOCK):
        rows = bucket[start : start + _BLOCK]
        for begin in range(start, len(bucket), _BLOCK):
            columns = bucket[begin : begin + _BLOCK]
            close = pictures[rows] @ pictures[columns].T >= least
            close &= teams[rows][:, None] != teams[columns][None, :]
            for i, j in np.argwhere(close):
                if begin > start or i < j:
                    yield int(rows[i]), int(columns[j])
