"""Limits of explainers, measured on good parts: from which value of a map on a place counts.

The limit is the conformal quantile of good parts' map maxima, as the pixel limit is. It comes from the parts
that calibrate or, where all teach (folds), from good parts that were taught, and is noted so. Where good
parts show next to nothing, a tenth of what bad parts usually show is the least: otherwise every trace of
evidence would glow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.explanation import ExplainLimit
from flawscope.core.progress import Progress, Stage
from flawscope.core.types import Array, Role, Sample
from flawscope.decision.calibration import peak_limit, percent
from flawscope.methods.features import evenly
from flawscope.runtime.explain import Known, explainers
from flawscope.runtime.explain.anomaly import NAME
from flawscope.runtime.explain.contract import Explainer
from flawscope.runtime.explain.maps import bare_maps
from flawscope.runtime.reading import read_ahead

_GOOD = 300  # photographs that are looked at
_BAD = 50
_SHARE_OF_BAD = 0.1
_LEAST = 1e-9


@dataclass(frozen=True)
class Shows:
    """Photographs that limits rest on."""

    good: tuple[Sample, ...]
    bad: tuple[Sample, ...]
    role: Role  # of the good ones


def explain_limits(
    known: Known, shows: Shows, *, alpha: float, progress: Progress
) -> dict[str, ExplainLimit]:
    """Return the limit of every registered explainer that works with the bundle and is no audit; none for
    `anomaly`, whose limit is the pixel limit. Raises ImageError for a photograph that cannot be read."""
    wanted = [one for one in explainers if not (one.name == NAME or one.audit or known.lacks(one))]
    if not wanted:
        return {}
    good = tuple(shows.good[i] for i in evenly(len(shows.good), most=_GOOD))
    bad = tuple(shows.bad[i] for i in evenly(len(shows.bad), most=_BAD))
    with progress.stage("Measuring explanations", len(good) + len(bad)) as stage:
        of_good = _maxima(known, good, wanted, stage)
        of_bad = _maxima(known, bad, wanted, stage)
    counts = Counter(sample.part_key for sample in good)
    weights = np.array([1 / counts[sample.part_key] for sample in good])
    note = "" if shows.role is Role.CALIBRATE else " (which were taught)"
    limits = {}
    for one in wanted:
        quantile = peak_limit(of_good[one.name], weights, alpha=alpha)
        usual = float(np.median(of_bad[one.name])) if len(bad) else 0.0
        value = max(quantile, _SHARE_OF_BAD * usual, _LEAST)
        limits[one.name] = ExplainLimit(
            value,
            len(counts),
            shows.role.value,
            f"1.0 is what {percent(alpha)} of good parts{note} exceed somewhere."
            if value == quantile
            else f"1.0 is a tenth of what bad parts usually show; good parts{note} show less.",
        )
    return limits


def _maxima(
    known: Known, samples: Sequence[Sample], wanted: Sequence[Explainer], stage: Stage
) -> dict[str, Array]:
    """Return the highest value of each explainer's map of each photograph, float64 (n,), by name."""
    found: dict[str, list[float]] = {one.name: [] for one in wanted}
    for loaded in read_ahead([sample.path for sample in samples], known.preprocess):
        mapped = bare_maps(known, loaded.required(), wanted)
        for name, heat in mapped.maps.items():
            found[name].append(float(heat.max()))
        stage.advance()
    return {name: np.array(values, np.float64) for name, values in found.items()}
