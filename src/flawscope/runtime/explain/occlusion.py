"""What the score loses when a patch is covered: slow, but it asks the graph itself and needs nothing of it.

Patches of the picture's mean colour slide over the canvas (Zeiler and Fergus 2014), a quarter of its side
each, half overlapping; the value of a place is the mean drop of the class's log-odds (of the score, where
there are no classes) over the patches that cover it. Of a tiled photograph each tile answers for itself.
"""

from __future__ import annotations

import numpy as np

from flawscope.core.types import Array
from flawscope.runtime.explain.contract import Known, Shown, explainer

_PATCHES = 8  # patches along a side, edge to edge; each step is half a patch
_BATCH = 16


@explainer(
    "occlusion",
    summary="How much the score falls when a place is covered; for audits, many runs a photograph.",
    paper="Zeiler and Fergus, ECCV 2014",
    audit=True,
)
def occlusion(shown: Shown) -> Array:
    """Return the drop of the class's log-odds, or of the score, float32 (N, H, W)."""
    canvases, known = shown.canvases, shown.known
    return np.stack(
        [
            _drops(canvases.pixels[i], canvases.content_xyxy[i], known, shown.target)
            for i in range(len(canvases))
        ]
    )


def _drops(pixels: Array, content_xyxy: Array, known: Known, target: int) -> Array:
    """Return the mean drop at each pixel of one canvas, float32 (H, W); 0 on padding."""
    left, top, right, bottom = (round(float(side)) for side in content_xyxy)
    height, width = pixels.shape[:2]
    colour = pixels[top:bottom, left:right].reshape(-1, 3).mean(0).round().astype(np.uint8)
    boxes = [
        (x0, y0, x1, y1)
        for y0, y1 in _windows(top, bottom, max(1, height // _PATCHES))
        for x0, x1 in _windows(left, right, max(1, width // _PATCHES))
    ]
    whole = _answers(pixels[None], content_xyxy, known, target)[0]
    total = np.zeros((height, width), np.float64)
    times = np.zeros((height, width), np.int64)
    for start in range(0, len(boxes), _BATCH):
        some = boxes[start : start + _BATCH]
        covered = np.repeat(pixels[None], len(some), 0)
        for row, (x0, y0, x1, y1) in enumerate(some):
            covered[row, y0:y1, x0:x1] = colour
        drops = whole - _answers(covered, content_xyxy, known, target)
        for (x0, y0, x1, y1), drop in zip(some, drops.tolist(), strict=True):
            total[y0:y1, x0:x1] += drop
            times[y0:y1, x0:x1] += 1
    return np.asarray(total / np.maximum(times, 1), np.float32)


def _windows(start: int, stop: int, side: int) -> list[tuple[int, int]]:
    """Return windows of `side` in steps of half of it that cover start to stop, cut at the end."""
    step = max(1, side // 2)
    last = max(start + 1, stop - step)
    return [(at, min(at + side, stop)) for at in range(start, last, step)]


def _answers(pixels: Array, content_xyxy: Array, known: Known, target: int) -> Array:
    """Return what speaks for the class on each canvas, float64 (n,): its log-odds against all others, or the
    score where there are no classes."""
    content = np.tile(content_xyxy, (len(pixels), 1))
    if not known.classes:
        return np.asarray(known.session.run(pixels, content, names=("score",))["score"], np.float64)
    return log_odds_of(known.session.run(pixels, content, names=("logits",))["logits"], target)


def log_odds_of(logits: Array, target: int) -> Array:
    """Return a class's log-odds against all others of logits (n, K): float64 (n,)."""
    others = np.delete(logits.astype(np.float64), target, axis=1)
    highest = others.max(1, keepdims=True)
    against = highest[:, 0] + np.log(np.exp(others - highest).sum(1))
    return np.asarray(logits[:, target] - against)
