"""What a cell measures beside the report: speed one by one and in batches, and where heat lies."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import cv2
import numpy as np

from flawscope.core.cells import Measuring
from flawscope.core.errors import ImageError
from flawscope.core.types import Array, Fit, Judged, Metric, Preprocess
from flawscope.flows.masks import PackedMask, map_at
from flawscope.imaging.foreground import WHOLE, find_foreground
from flawscope.imaging.read import read
from flawscope.metrics import explanations, heat, latency
from flawscope.runtime.inspector import Inspector

_FULL = 0.9  # share of its canvas that a picture covers, from which on nothing to speak of is padding
_ALIKE = 1.03  # factor between two aspects that nobody sees


@dataclass(frozen=True)
class Pace:
    """How long verdicts took, one photograph at a time."""

    stages_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # stage -> p50, p95
    processor_ms: float | None = None  # of one verdict; a busy machine does not lengthen it
    load: float | None = None  # processes that wanted a core meanwhile, for each core; None: not told


def pace(inspector: Inspector, paths: Sequence[str], measuring: Measuring) -> Pace:
    """Time photographs judged one at a time after the warm-up, `total` with the file's reading included."""
    if not paths:
        return Pace()
    timed = list(islice(cycle(paths), measuring.warm_up + measuring.repeats))
    for path in timed[: measuring.warm_up]:
        inspector(path)
    start = time.process_time()
    found = [inspector(path).timings_ms for path in timed[measuring.warm_up :]]
    used = (time.process_time() - start) * 1000 / max(1, len(found))
    return Pace(latency.percentiles([one for one in found if one]), used, load())


def load() -> float | None:
    """Return how many processes wanted a core in the last minute, for each core; None where the system does
    not tell."""
    if not hasattr(os, "getloadavg"):
        return None
    return float(os.getloadavg()[0]) / (os.cpu_count() or 1)


def throughput(inspector: Inspector, paths: Sequence[str], measuring: Measuring) -> Metric:
    """Return photographs a second in batches, read by one thread meanwhile, after one batch of warm-up."""
    batch = measuring.batch
    batches = max(2, min(measuring.repeats, len(paths)) // batch)
    chosen = list(islice(cycle(paths), batch * batches))
    list(inspector.inspect(chosen[:batch], batch=batch, workers=1))
    start = time.perf_counter()
    list(inspector.inspect(chosen, batch=batch, workers=1))
    return Metric(len(chosen) / max(time.perf_counter() - start, 1e-9), n=len(chosen))


def heat_metrics(judged: Sequence[Judged], *, mask_above: int | None) -> dict[str, Metric]:
    """Return how the maps of bad test photographs lie: `pointing` where flaws are marked,
    `heat_concentration` and `heat_outside` wherever there is heat."""
    hits: list[bool] = []
    drawn: list[float] = []
    beside: list[float] = []
    for entry in judged:
        found = entry.inspection
        if not entry.sample.is_bad or found.map is None or found.size_hw is None:
            continue
        shown = map_at(found.map, found.size_hw)
        if entry.sample.mask_path is not None:
            mask = PackedMask.of(entry.sample, found.size_hw, above=mask_above).mask()
            if mask is not None and mask.any():
                hits.append(explanations.points_at_flaw(shown, mask))
        concentrated = heat.concentration(shown)
        if concentrated is not None:
            drawn.append(concentrated)
        product = _product(entry, shown.shape)
        share = None if product is None else heat.outside(shown, product)
        if share is not None:
            beside.append(share)
    return {
        "pointing": explanations.pointing_game(hits),
        "heat_concentration": explanations.mean(drawn, reason="there is no heat on a bad photograph"),
        "heat_outside": explanations.mean(beside, reason="no background is seen around the product"),
    }


def aspect(preprocess: Preprocess, size_hw: tuple[int, int]) -> str:
    """Say what becomes of a photograph's aspect: `native` (kept, hardly any padding), `padded` or
    `stretched`."""
    if preprocess.fit is Fit.TILES:
        return "native"
    height, width = size_hw
    canvas_h, canvas_w = preprocess.size_hw
    factor = (height / width) / (canvas_h / canvas_w)
    if preprocess.fit is Fit.STRETCH:
        return "native" if 1 / _ALIKE <= factor <= _ALIKE else "stretched"
    scale = min(canvas_h / height, canvas_w / width)
    if preprocess.content_px is not None:
        scale = min(scale, (preprocess.content_px / (height * width)) ** 0.5)
    return "native" if height * width * scale**2 >= _FULL * canvas_h * canvas_w else "padded"


def _product(entry: Judged, size_hw: tuple[int, ...]) -> Array | None:
    """Return where the product lies at a map's size, or None where no background is seen."""
    try:
        found = find_foreground(read(entry.sample.path).pixels)
    except ImageError:
        return None
    if found.how == WHOLE:
        return None
    small = cv2.resize(found.mask.astype(np.float32), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small) >= 0.5
