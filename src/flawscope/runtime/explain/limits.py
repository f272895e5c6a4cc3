"""From which value of an explainer's map on a place counts.

For `anomaly` that is the pixel limit. For the others it is measured while teaching, on good parts, by the
same rule (the conformal quantile of their maps' maxima), and stands in the bundle. What runs the graph many
times a photograph (occlusion) takes instead how far a part at the limit lies above a usual good part.
"""

from __future__ import annotations

import numpy as np

from flawscope.core.errors import BundleError
from flawscope.core.explanation import ExplainLimit
from flawscope.core.types import Calibration
from flawscope.decision.calibration import thresholds
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.explain.anomaly import NAME
from flawscope.runtime.explain.contract import Explainer

_LEAST = 1e-9  # a limit must be above 0 to divide by; good parts whose maps are 0 everywhere give none


def limit_of(one: Explainer, bundle: Bundle, calibration: Calibration) -> ExplainLimit:
    """Return an explainer's limit under a calibration of the bundle. Raises BundleError where there is
    none."""
    if one.name == NAME:
        return ExplainLimit(
            max(thresholds(calibration).pixel, _LEAST),
            calibration.parts,
            "calibrate",
            "1.0 is the pixel limit, the quantile of good parts' map maxima.",
        )
    if one.audit:
        return _usual_drop(calibration)
    if one.name not in bundle.contents.explain_limits:
        raise BundleError(
            f"{bundle.path} holds no limit for {one.name}",
            expected="a bundle taught by a version that measures it",
            remedy=f"Teach it anew, or explain by {NAME}",
        )
    return bundle.contents.explain_limits[one.name]


def _usual_drop(calibration: Calibration) -> ExplainLimit:
    limits = thresholds(calibration)
    limit = limits.ng if limits.ng is not None else limits.review
    usual = float(np.median(calibration.scores))
    drop = max((usual if limit is None else limit) - usual, _LEAST)
    return ExplainLimit(
        drop,
        calibration.parts,
        "calibrate",
        "1.0 is a drop of the score from the limit to a usual good part's score.",
    )
