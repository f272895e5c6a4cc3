"""How good explanations are: do they point at the flaw, and does the score hang on what they show?

Pointing game: Zhang et al. 2016, without its tolerance of 15 px. Deletion and insertion: Petsiuk et al. 2018
(RISE), over shares of the pixels that double from step to step, because flaws are small; what is removed
gives way to a blurred picture. The score's answer is counted from that of a usual good part (0) to that of
the whole photograph (1), so that scores of any unit can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flawscope.core.rng import derive
from flawscope.core.types import Array, Metric
from flawscope.metrics.intervals import percentile_interval, resampling_counts, share
from flawscope.metrics.localisation import Pixels

STEPS = tuple(2.0**power for power in range(-8, 1))  # shares of the pixels: 1/256 to all
_NO_FLAW = "no flaw is marked"


def points_at_flaw(heat: Array, mask: Array) -> bool:
    """Say whether a map's highest place lies on the flaw; of several equally high places, whether all do."""
    return bool(mask[heat == heat.max()].all())


def pointing_game(hits: Sequence[bool]) -> Metric:
    """Return how often the highest place of a map lies on the flaw, over bad images whose flaw is marked."""
    return share(sum(hits), len(hits), reason=_NO_FLAW)


def iou(pixels: Pixels) -> Metric:
    """Return the mean over bad images of |marked and flawed| / |marked or flawed| at the fixed threshold."""
    counts = pixels.counts[~pixels.bins.is_good].astype(np.float64)
    return mean(counts[:, 0] / np.maximum(counts.sum(1), 1), reason=_NO_FLAW)


def dark(pixels: Pixels) -> Metric:
    """Return the share of good images on which nothing is marked at the fixed threshold."""
    marked = pixels.counts[pixels.bins.is_good, 1] > 0
    return share(int((~marked).sum()), len(marked), reason="there is no good image")


def answer(scores: Array, *, usual: float, whole: float) -> Array:
    """Return scores as shares of the way from a usual good part's (0) to the whole photograph's (1), cut to
    0..1. Raises ValueError where the whole does not score above the usual: then nothing can be lost."""
    if not whole > usual:
        raise ValueError(f"the whole photograph scores {whole:g}, not above a usual good part's {usual:g}")
    return np.clip((np.asarray(scores, np.float64) - usual) / (whole - usual), 0, 1)


def curve_area(answers: Array) -> float:
    """Return the area under answers (n,) at `STEPS`, by trapezoids on the axis of doublings, over its length:
    0 to 1."""
    values = np.asarray(answers, np.float64)
    return float(((values[1:] + values[:-1]) / 2).mean())


def ranked_pixels(heat: Array, *, seed: int) -> Array:
    """Return the pixels' places in the order of their heat, hottest first, int64 (h * w,); equals in random
    order, so that no corner is preferred."""
    ties = derive(seed, "ties").random(heat.size)
    return np.lexsort((ties, -heat.ravel()))


def mean(values: Sequence[float] | Array, *, reason: str) -> Metric:
    """Return a mean over images with its bootstrap interval; without images there is no value, for
    `reason`."""
    numbers = np.asarray(values, np.float64)
    if not len(numbers):
        return Metric(None, n=0, reason=reason)
    value = float(numbers.mean())
    if len(numbers) < 2:
        return Metric(value, n=1)
    draws = resampling_counts(np.zeros(len(numbers), np.bool_))
    interval = percentile_interval(draws @ numbers / len(numbers), value)
    low, high = interval if interval is not None else (None, None)
    return Metric(value, low, high, len(numbers))
