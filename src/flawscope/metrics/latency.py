"""How long each stage of an inspection takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def percentiles(timings_ms: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the median and the 95th percentile of each stage: stage -> `p50`, `p95` in milliseconds.

    One mapping an inspection, from stage to milliseconds; a stage that some inspections lack is measured over
    the others. Stages keep the order in which they first appear.
    """
    stages: dict[str, list[float]] = {}
    for timings in timings_ms:
        for stage, milliseconds in timings.items():
            stages.setdefault(stage, []).append(milliseconds)
    return {
        stage: {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}
        for stage, values in stages.items()
    }
