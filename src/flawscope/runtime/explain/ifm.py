"""Inverse feature matching: where a part speaks for a defect with features that no good part has.

Two readings stand side by side.

`ifm-cam` is what the authors of the method (J. Comput. Design Eng. 11(3), 2024) released: the last features,
brought up linearly, times the abnormal class's weights at every pixel, without bias and without cutting off
what speaks against; nothing outside the product; up to five peaks. No good part is looked at. They take the
product's place from zeros in the image's first channel; here it comes from imaging/foreground.py.

`ifm-bank` is what the name says, and a reading of ours, for the authors document none: each position's
features are matched against those of good training parts, the match is inverted (1 - the best cosine
similarity), and the evidence for the defect is weighted by it. A place where the classifier errs on something
that good parts have stays dark, and so does an odd place that says nothing to the classifier.

Whether a part is shown a map at all is the verdict's business: none for one called OK.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from flawscope.core.types import Array, Image
from flawscope.imaging.foreground import find_foreground
from flawscope.imaging.peaks import find_peaks
from flawscope.imaging.resample import to_grid
from flawscope.runtime.explain.contract import Shown, explainer
from flawscope.runtime.references import References

PAPER = "J. Comput. Design Eng. 11(3), 2024"
_RELATIVE = 0.5  # of the highest value: what the released code calls a peak
_MOST = 5


@dataclass(frozen=True, eq=False)
class ReleasedMap:
    """What the released code gives for an image predicted abnormal."""

    heat: Array  # float32 (H, W), of any sign; 0 outside the product
    peaks: tuple[tuple[int, int, float], ...]  # row, column, value; highest first


def within_product(image: Image, heat: Array) -> Array:
    """Return a map over the whole photograph with 0 outside the product: a cell belongs to it where at least
    half of what it shows does."""
    mask = find_foreground(image.pixels).mask
    if mask.all():
        return heat
    share = cv2.resize(mask.astype(np.float32), heat.shape[::-1], interpolation=cv2.INTER_AREA)
    return np.where(share >= 0.5, heat, np.float32(0))


@explainer(
    "ifm-cam",
    summary="The class's weights times the features at every pixel of the product, as released.",
    paper=PAPER,
    outputs=("features",),
    head=True,
    whole=within_product,
)
def ifm_cam(shown: Shown) -> Array:
    """Return the class's weights times the features, float32 (N, h, w), of any sign. Bringing the features
    up first, as the released code does, gives the same, for both steps are linear."""
    return class_product(shown.features, shown.head.weight[shown.target])


@explainer(
    "ifm-bank",
    summary="The evidence for the class where the features match no good part's.",
    paper=PAPER,
    outputs=("features", "evidence"),
    references=True,
    whole=within_product,
)
def ifm_bank(shown: Shown) -> Array:
    """Return the evidence weighted by the inverse match, float32 (N, h, w), not below 0."""
    evidence = shown.outputs["evidence"]
    return weighted(
        evidence[:, shown.target] - evidence[:, 0], inverse_match(shown.features, shown.references)
    )


def class_product(features: Array, weight: Array) -> Array:
    """Return features (N, C, h, w) times a class's weights (C,), float32 (N, h, w)."""
    count, channels, rows, columns = features.shape
    flat = features.reshape(count, channels, rows * columns)
    return np.asarray((weight.astype(np.float32) @ flat).reshape(count, rows, columns), np.float32)


def released_map(features: Array, weights: Array, mask: Array, *, predicted: int) -> ReleasedMap | None:
    """Return what the released code shows of one image, or None where it is predicted normal (class 0).

    `features` is float32 (C, h, w) of the last convolution, `weights` (K, C) the head's, `mask` bool (H, W)
    the product. Peaks exceed half of the highest value and lie at least ten pixels of 224 apart.
    """
    if predicted == 0:
        return None
    small = class_product(features[None], weights[predicted])[0]
    heat = np.where(mask, to_grid(small, (mask.shape[0], mask.shape[1])), np.float32(0))
    highest = float(heat.max())
    if highest <= 0:
        return ReleasedMap(heat, ())
    return ReleasedMap(heat, tuple(find_peaks(heat, least=_RELATIVE * highest, most=_MOST)))


def inverse_match(features: Array, references: References) -> Array:
    """Return 1 - the best cosine similarity of each position's features (N, C, h, w) to good parts', float32
    (N, h, w), 0 (a good part has the like) to 2."""
    count, channels, rows, columns = features.shape
    queries = features.transpose(0, 2, 3, 1).reshape(-1, channels).astype(np.float32)
    match = references.best_cosine(queries).reshape(count, rows, columns)
    return np.asarray(np.maximum(1 - match, 0), np.float32)


def weighted(log_odds: Array, inverse: Array) -> Array:
    """Return the evidence for a defect weighted by the inverse match, float32, not below 0. `log_odds` are a
    class's evidence less that of good; its softplus keeps a doubtful place from counting as much against as a
    sure one counts for."""
    softplus = np.logaddexp(np.float32(0), log_odds)
    return np.asarray(softplus * inverse, np.float32)
