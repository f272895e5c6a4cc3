"""One photograph's risk by one bundle: the run of the graph that gives the verdict gives the risk too.

rater = Rater(Inspector.open("model.flaw"))
rated = rater(image).rated                    # risk, band, factors, qrs; `risk_of` is the same in one call

The heat is the bundle's map divided by its pixel limit. `qrs` counts the Grad-CAM++ of the likeliest bad
class, as the usual library computes it, scaled in each image; a bundle without classes, or whose graph does
not give what Grad-CAM++ needs, has the map itself scaled instead, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.errors import BundleError, DataError, ImageError
from flawscope.core.types import GOOD, Array, Fit, Image, Inspection
from flawscope.data.zones import Zones
from flawscope.decision.bands import RiskLimits, risk_limits
from flawscope.decision.rated import Rated
from flawscope.decision.risk import QRS_THRESHOLD, Rating, qrs, rate, scaled
from flawscope.imaging.foreground import WHOLE, find_foreground
from flawscope.imaging.preprocess import Canvases, judged_cells
from flawscope.imaging.read import read
from flawscope.runtime.explain.closed import library_gradcam_plus_plus
from flawscope.runtime.explain.contract import Explainer, Known
from flawscope.runtime.explain.maps import merged
from flawscope.runtime.inspector import Inspector

PLUS_PLUS = Explainer(
    "gradcam++ as published",
    library_gradcam_plus_plus,
    "Grad-CAM++ with the usual library's eps.",
    outputs=("features", "share"),
    head=True,
)
BY_GRADCAM = "Grad-CAM++ of the likeliest bad class, scaled in each image"
BY_MAP = "the bundle's map, scaled in each image: it gives no Grad-CAM++"
BY_PICTURE = "whole picture"
BY_FOREGROUND = "foreground"
BY_NO_FOREGROUND = "whole picture: no background was found"

Place = Callable[[tuple[int, int]], Array]  # a map's (h, w) to which of its cells show the product, bool


@dataclass(frozen=True, eq=False)
class RatedPhoto:
    """A risk with the weights that qrs counts, the product's region and the heat, all (h, w); None where the
    photograph was not judged."""

    rated: Rated
    weights: Array | None = None  # float32, 0 to 1
    region: Array | None = None  # bool
    heat: Array | None = None  # float32, 1.0 is the pixel limit


class Rater:
    """Rates photographs with one bundle. Safe to call from several threads."""

    def __init__(
        self,
        inspector: Inspector,
        *,
        threshold: float = QRS_THRESHOLD,
        zones: Zones | None = None,
        foreground: bool = False,
    ) -> None:
        """Take an inspector; `threshold` (0 to 1) is that of qrs, `zones` weigh places of the product, and
        `foreground` looks for the product where no coordinates are given. Raises BundleError for a bundle
        whose pixel limit is not above 0: its map has no absolute scale."""
        if not inspector.thresholds.pixel > 0:
            raise BundleError(
                f"{inspector.bundle.path} cannot rate risks: its map has no scale",
                expected="a pixel limit above 0",
                found=f"{inspector.thresholds.pixel:g}",
                remedy="Teach it anew, with more good parts",
            )
        self.inspector = inspector
        self.limits = limits_of(inspector)
        self._threshold = threshold
        self._zones = zones
        self._foreground = foreground
        self._known = Known.of(inspector.bundle, inspector.scorer.session)
        self._cams = bool(self._known.classes) and not self._known.lacks(PLUS_PLUS)

    def __call__(
        self, image: Image, *, place: Place | None = None, place_words: str = "", read_ms: float = 0.0
    ) -> RatedPhoto:
        """Judge and rate one photograph. `place` says where the product lies, and `place_words` how that is
        known; otherwise it is the foreground or the whole picture, less what the bundle does not judge."""
        chunks: list[tuple[Canvases, Mapping[str, Array]]] = []
        tiled = self._known.preprocess.fit is Fit.TILES  # tiles are not kept: they run once more
        names = self._known.output_names([PLUS_PLUS]) if self._cams and not tiled else ()
        inspection = self.inspector.watched(
            image,
            names=names,
            keep=lambda canvases, outputs: chunks.append((canvases, outputs)) if names else None,
            read_ms=read_ms,
        )
        if inspection.map is None:
            return RatedPhoto(Rated(inspection))
        weights = self._weights(image, inspection, chunks)
        region, words = self._region(image, weights.shape, place, place_words)
        heat = inspection.map / np.float32(self.inspector.thresholds.pixel)
        zones = None if self._zones is None else self._zones.over(region)
        rating = rate(sure_of(inspection), heat, region, zones=zones)
        rated = Rated(
            inspection=replace(inspection, map=None),
            rating=rating,
            band=self.limits.band(rating.risk),
            qrs=qrs(weights, region, self._threshold),
            qrs_rests_on=BY_GRADCAM if self._cams else BY_MAP,
            region=words,
            region_share=float(region.mean()),
            over=int((weights[region] > self._threshold).sum()),
            cells=int(region.sum()),
            warnings=inspection.warnings,
        )
        return RatedPhoto(rated, weights, region, heat)

    def _weights(
        self, image: Image, inspection: Inspection, chunks: list[tuple[Canvases, Mapping[str, Array]]]
    ) -> Array:
        """Return the weights that qrs counts, float32 (h, w) from 0 to 1, on the grid of the map."""
        heat = inspection.map
        assert heat is not None
        if not self._cams:
            return scaled(heat)
        shares = inspection.probabilities or {}
        bad = self._known.classes[1:]
        target = 1 + max(range(len(bad)), key=lambda k: shares[bad[k]])
        maps = merged(self._known, image, [PLUS_PLUS], target=target, chunks=chunks or None)
        return scaled(_on_grid(maps[PLUS_PLUS.name], heat.shape))

    def _region(
        self, image: Image, size_hw: tuple[int, ...], place: Place | None, words: str
    ) -> tuple[Array, str]:
        """Return which cells of a map show the judged product, bool (h, w), and how that is known."""
        grid = (size_hw[0], size_hw[1])
        region = np.ones(grid, np.bool_)
        if place is not None:
            region = place(grid)
        elif self._foreground:
            found = find_foreground(image.pixels)
            words = BY_NO_FOREGROUND if found.how == WHOLE else BY_FOREGROUND
            share = _on_grid(found.mask.astype(np.float32), grid)
            region = share >= min(0.5, float(share.max()) - 1e-6)
        else:
            words = BY_PICTURE
        judged = judged_cells(self._known.preprocess.area, grid)
        if judged is not None:
            region, words = region & judged, f"{words}, within the region of interest"
        if not region.any():
            raise DataError(
                f"{image.path or 'An image'} shows no product to rate",
                expected=f"a product ({words}) that the bundle judges",
                remedy="Check the coordinates against the bundle's region of interest",
            )
        return region, words


def risk_of(inspector: Inspector, image: Image | Path | str) -> Rated:
    """Judge and rate one photograph over the whole picture; for several, keep a `Rater`. What cannot be read
    or judged comes back without a rating and with an error in its inspection."""
    if isinstance(image, Image):
        return Rater(inspector)(image).rated
    try:
        picture = read(image, levels=inspector.bundle.contents.preprocess.levels)
    except ImageError:
        return Rated(inspector(image))
    return Rater(inspector)(picture).rated


def quick_rating(inspector: Inspector, inspection: Inspection) -> Rating | None:
    """Return the risk of what was just judged over the whole picture, without interval and without qrs, as a
    line needs it with every verdict; None where it was not judged or the bundle's map has no scale."""
    heat, limit = inspection.map, inspector.thresholds.pixel
    if heat is None or not limit > 0:
        return None
    grid = (heat.shape[0], heat.shape[1])
    region = judged_cells(inspector.bundle.contents.preprocess.area, grid)
    whole = np.ones(grid, np.bool_) if region is None or not region.any() else region
    return rate(sure_of(inspection), heat / np.float32(limit), whole, interval=False)


def sure_of(inspection: Inspection) -> float:
    """Return how sure a bundle is that a judged part is bad, 0 to 1: the probability of all bad classes or,
    without classes, 1 - p."""
    if inspection.probabilities is not None:
        return float(np.clip(1.0 - inspection.probabilities[GOOD], 0.0, 1.0))
    assert inspection.p_value is not None
    return 1.0 - inspection.p_value


def limits_of(inspector: Inspector) -> RiskLimits:
    """Return the limits of the bands: those in the bundle or, for older bundles and for one of several
    products, by the same rule from its calibration; `critical` then stays above the bundle's."""
    contents = inspector.bundle.contents
    own = contents.risk_limits
    if own is not None and inspector.calibration is contents.calibration:
        return own
    derived = risk_limits(inspector.calibration, classes=bool(contents.classes))
    if own is None:
        return replace(derived, rule=f"{derived.rule} (the bundle brings none: by its calibration)")
    return replace(derived, critical=max(own.critical, derived.high))


def _on_grid(values: Array, size_hw: tuple[int, ...]) -> Array:
    """Return values float32 (h, w) over the photograph on another grid over it, float32."""
    if values.shape == tuple(size_hw):
        return values
    shrinks = values.shape[0] > size_hw[0] or values.shape[1] > size_hw[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (size_hw[1], size_hw[0]), interpolation=how))
