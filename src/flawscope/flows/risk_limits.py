"""Limits of the risk bands of a bundle in the making: from its calibration, and from labelled defects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.types import Calibration, Sample
from flawscope.decision.bands import RiskLimits, risk_limits, sure_by_score
from flawscope.decision.calibration import thresholds
from flawscope.decision.risk import rate
from flawscope.imaging.preprocess import judged_cells
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scorer import Scorer

_MOST = 500  # photographs of defects whose median is taken; more say the same and take time


def limits_from(
    scorer: Scorer, calibration: Calibration, select: Sequence[Sample], *, progress: Progress
) -> RiskLimits | None:
    """Return the limits by the rule of decision/bands.py; the defects are those of SELECT, a part at its most
    risky photograph. None where the pixel limit is not above 0: such a bundle cannot rate risks."""
    pixel = thresholds(calibration).pixel
    if not pixel > 0:
        return None
    classes = bool(scorer.session.classes)
    defects = [sample for sample in select if sample.is_bad][:_MOST]
    risks: dict[str, float] = {}
    with progress.stage("Rating defects", len(defects)) as stage:
        paths = [sample.path for sample in defects]
        for sample, loaded in zip(defects, read_ahead(paths, scorer.preprocess), strict=True):
            raw, _ = scorer(loaded.required())
            sure = sure_by_score(np.array([raw.score]), calibration, classes=classes)[0]
            judged = judged_cells(scorer.preprocess.area, (raw.map.shape[0], raw.map.shape[1]))
            region = np.ones(raw.map.shape, np.bool_) if judged is None else judged
            found = rate(float(sure), raw.map / np.float32(pixel), region).risk
            risks[sample.part_key] = max(found, risks.get(sample.part_key, 0.0))
            stage.advance()
    return risk_limits(calibration, classes=classes, defects=list(risks.values()))
