"""Marked places drawn after what the photograph shows: GrabCut, or a random walker, around one place at a
time.

A heat map knows that something is there to within its own cells; the photograph knows where it ends. Both
ways begin with the heat: the hottest pixels of a place are sure to belong to it, the rim of a window around
it is sure not to, and what lies between is decided by colour (GrabCut: Rother, Kolmogorov and Blake 2004) or
by how easily a walk between neighbours of like brightness gets there (Grady 2006).

Where the answer runs away, the place stays as the heat has it: see `runs_away`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

SIDE = 160  # most pixels of a window's longer side that are looked at; a larger one is shrunk
MARGIN_SHARE = 0.5  # of the place's side by which the window is wider, each way
MARGIN_PX = 8  # and at least this
SURE_SHARE = 0.15  # of the place's pixels, the hottest, that belong to it for sure
LARGEST_GROWTH = 3.0  # times the plain area
SMALLEST_SHARE = 0.05  # of the plain area
_ROUNDS = 3  # of GrabCut
_SHARPNESS = 90.0  # of the walker, on brightness scaled to the window's own spread


class Refine(StrEnum):
    """How a marked place is drawn after the photograph."""

    NONE = "none"
    GRABCUT = "grabcut"
    WALKER = "walker"


@dataclass(frozen=True, eq=False)
class Window:
    """What is looked at around one place."""

    pixels: np.ndarray  # uint8 (h, w, 3) RGB
    heat: np.ndarray  # float32 (h, w)
    place: np.ndarray  # bool (h, w): the pixels marked by the heat

    def __post_init__(self) -> None:
        if not self.pixels.shape[:2] == self.heat.shape == self.place.shape or not self.place.any():
            raise ValueError("a window needs pixels, heat and a place that is not empty, all of one size")


def window_xyxy(box_xyxy: tuple[int, int, int, int], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the window around a box, cut at the picture's edges."""
    left, top, right, bottom = box_xyxy
    wide = max(MARGIN_PX, round((right - left) * MARGIN_SHARE))
    high = max(MARGIN_PX, round((bottom - top) * MARGIN_SHARE))
    return (
        max(0, left - wide),
        max(0, top - high),
        min(size_hw[1], right + wide),
        min(size_hw[0], bottom + high),
    )


def refined(window: Window, how: Refine) -> np.ndarray | None:
    """Return the place drawn after the photograph, bool (h, w), or None where the answer runs away or there
    is nothing to decide (the place fills its window)."""
    shrunk = _shrunk(window)
    seeds = _seeds(shrunk)
    if seeds is None:
        return None
    drawn = _grabcut(shrunk, seeds) if how is Refine.GRABCUT else _walked(shrunk, seeds)
    if drawn.shape != window.place.shape:
        size_wh = window.place.shape[::-1]
        drawn = cv2.resize(drawn.astype(np.float32), size_wh, interpolation=cv2.INTER_LINEAR) >= 0.5
    drawn = _at_the_peak(drawn, window)
    return None if runs_away(drawn, window.place) else drawn


def runs_away(drawn: np.ndarray, place: np.ndarray) -> bool:
    """Say whether a refined place is not to be believed: more than three times the plain area or less than a
    twentieth of it, apart from the plain place, or along more than half of its window's rim."""
    area, plain = int(np.count_nonzero(drawn)), int(np.count_nonzero(place))
    if not SMALLEST_SHARE * plain <= area <= LARGEST_GROWTH * plain or area == 0:
        return True
    rim = np.concatenate([drawn[0], drawn[-1], drawn[1:-1, 0], drawn[1:-1, -1]])
    return not (drawn & place).any() or float(rim.mean()) > 0.5


def _shrunk(window: Window) -> Window:
    height, width = window.place.shape
    scale = SIDE / max(height, width)
    if scale >= 1:
        return window
    size_wh = max(2, round(width * scale)), max(2, round(height * scale))
    place = cv2.resize(window.place.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) >= 0.5
    heat = cv2.resize(window.heat, size_wh, interpolation=cv2.INTER_AREA)
    if not place.any():  # a place of a few pixels in a long window
        place = heat >= heat.max()
    return Window(cv2.resize(window.pixels, size_wh, interpolation=cv2.INTER_AREA), heat, place)


def _seeds(window: Window) -> np.ndarray | None:
    """Return uint8 (h, w): 1 for sure inside, 2 for sure outside, 0 undecided; None where nothing is
    outside."""
    height, width = window.place.shape
    seeds = np.zeros((height, width), np.uint8)
    reach = max(2, round(0.12 * min(height, width)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near = cv2.dilate(window.place.astype(np.uint8), kernel) > 0
    seeds[~near] = 2
    if not (seeds == 2).any():
        return None
    inside = window.heat[window.place]
    count = max(1, round(SURE_SHARE * inside.size))
    hot = np.partition(inside, inside.size - count)[inside.size - count]
    seeds[window.place & (window.heat >= hot)] = 1
    return seeds


def _grabcut(window: Window, seeds: np.ndarray) -> np.ndarray:
    labels = np.where(window.place, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[seeds == 1] = cv2.GC_FGD
    labels[seeds == 2] = cv2.GC_BGD
    cv2.setRNGSeed(0)  # its clusters begin at random: the same photograph gets the same labels
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(
            np.ascontiguousarray(window.pixels), labels, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:  # too few pixels of one side to tell colours by
        return window.place
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _walked(window: Window, seeds: np.ndarray) -> np.ndarray:
    """Solve for the share of walks from each undecided pixel that reach the inside first; half is the
    line."""
    from scipy.sparse import coo_matrix, csr_matrix  # slow to load, and not needed for anything else here
    from scipy.sparse.linalg import spsolve

    grey = cv2.cvtColor(np.ascontiguousarray(window.pixels), cv2.COLOR_RGB2GRAY).astype(np.float64)
    grey /= max(1.0, float(np.ptp(grey)))
    number = np.arange(grey.size).reshape(grey.shape)
    pairs = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], 1),
        ]
    )
    step = grey.ravel()[pairs[:, 0]] - grey.ravel()[pairs[:, 1]]
    ease = np.exp(-_SHARPNESS * step**2) + 1e-6
    rows, columns = np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])
    both = np.concatenate([ease, ease])
    among = csr_matrix(coo_matrix((both, (rows, columns)), shape=(grey.size, grey.size)))
    known = seeds.ravel() > 0
    inside = (seeds.ravel() == 1).astype(np.float64)
    free = np.flatnonzero(~known)
    if not free.size:
        return np.asarray(seeds == 1)
    degree = np.asarray(among.sum(1)).ravel()
    laplacian = csr_matrix(
        coo_matrix((degree[free], (np.arange(free.size), np.arange(free.size))), shape=(free.size, free.size))
    )
    laplacian = laplacian - among[free][:, free]
    share = inside.copy()
    share[free] = spsolve(laplacian.tocsc(), among[free] @ inside)
    return np.asarray(share.reshape(grey.shape) >= 0.5)


def _at_the_peak(drawn: np.ndarray, window: Window) -> np.ndarray:
    """Keep the connected parts of an answer that meet the plain place; crumbs elsewhere are texture."""
    count, labels = cv2.connectedComponents(drawn.astype(np.uint8), connectivity=8)
    if count <= 2:
        return drawn
    meeting = np.unique(labels[window.place & drawn])
    return np.isin(labels, meeting[meeting > 0])
