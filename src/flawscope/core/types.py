"""The types that cross borders: frozen, numpy only, checked once when they are made.

Conventions: `_hw` is (height, width), `_xyxy` is (left, top, right, bottom) with right and bottom exclusive,
both in pixels; scores rise with oddness; paths are text with forward slashes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

Array = np.ndarray
Json = dict[str, Any]

GOOD = "good"


class Role(StrEnum):
    """What a sample may be used for; no sample, part or group has two."""

    FIT = "fit"
    SELECT = "select"
    CALIBRATE = "calibrate"
    TEST = "test"


class Verdict(StrEnum):
    """What the line is told. A part that cannot be judged has no verdict (None) and an error instead."""

    OK = "OK"
    REVIEW = "REVIEW"
    NG = "NG"


class Fit(StrEnum):
    """How an image of another shape comes onto the working canvas."""

    LETTERBOX = "letterbox"
    STRETCH = "stretch"
    TILES = "tiles"


class Merge(StrEnum):
    """How overlapping tiles become one map."""

    MAX = "max"
    MEAN = "mean"


class CalibrationMode(StrEnum):
    """Where the calibration scores come from."""

    SPLIT = "split"
    FOLDS = "folds"


@dataclass(frozen=True, eq=False)
class Image:
    """An image as everything past the reader sees it: RGB, upright, 8 bits."""

    pixels: Array  # uint8 (H, W, 3)
    path: str = ""
    warnings: tuple[str, ...] = ()
    clipped_share: float = 0.0  # of the pixels outside the levels, 16-bit data only

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"pixels must be uint8 (H, W, 3), not {self.pixels.dtype} {self.pixels.shape}")
        if 0 in self.pixels.shape:
            raise ValueError(f"an image needs at least one pixel, not {self.pixels.shape}")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Sample:
    """One photograph and what is known of it before anyone looks."""

    id: str  # unique in its manifest
    path: str
    label: str | None  # GOOD, the defect's name, or None where nobody said
    sha256: str = ""
    product: str = ""
    mask_path: str | None = None
    part: str = ""  # photographs of one part share it; empty: the sample is a part of its own
    group: str = ""  # lot, camera, day; empty: none known
    role: Role | None = None

    @property
    def is_good(self) -> bool:
        """Whether the label says that the part is good."""
        return self.label == GOOD

    @property
    def is_bad(self) -> bool:
        """Whether the label names a defect."""
        return self.label is not None and self.label != GOOD

    @property
    def part_key(self) -> str:
        """The part's name, unique among products."""
        return f"{self.product}\x1f{self.part or self.id}"


@dataclass(frozen=True)
class Levels:
    """The raw grey values that become 0 and 255 in data of more than 8 bits."""

    black: int
    white: int

    def __post_init__(self) -> None:
        if not 0 <= self.black < self.white <= 65535:
            raise ValueError(f"levels need 0 <= black < white <= 65535, not {self.black}, {self.white}")


@dataclass(frozen=True, eq=False)
class Area:
    """Which part of an image is judged, relative to the whole image: region of interest less ignored
    places."""

    judged: Array  # bool (R, C), stretched over the image

    def __post_init__(self) -> None:
        if self.judged.dtype != np.bool_ or self.judged.ndim != 2:
            raise ValueError(f"judged must be bool (R, C), not {self.judged.dtype} {self.judged.shape}")
        if not self.judged.any():
            raise ValueError("an area must judge at least one pixel")

    def to_json(self) -> Json:
        """Return shape and packed bits as JSON."""
        packed = zlib.compress(np.packbits(self.judged).tobytes(), 9)
        return {"size_hw": list(self.judged.shape), "bits": base64.b64encode(packed).decode()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Area:
        """Read what `to_json` wrote."""
        height, width = values["size_hw"]
        packed = np.frombuffer(zlib.decompress(base64.b64decode(values["bits"])), np.uint8)
        return cls(np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool))


@dataclass(frozen=True)
class Preprocess:
    """How a photograph becomes canvases for the graph; `imaging.preprocess` carries it out and maps results
    back.

    With LETTERBOX and STRETCH there is one canvas an image; with TILES the image keeps its pixels and is cut
    into overlapping canvases. `mean` and `std` belong to the backbone and are applied inside the graph.
    """

    size_hw: tuple[int, int]  # of the canvas
    fit: Fit = Fit.LETTERBOX
    levels: Levels | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of values scaled to 0..1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    area: Area | None = None
    tile_overlap: float = 0.25  # share of a tile that the next one covers again
    tile_merge: Merge = Merge.MAX
    content_px: int | None = None  # most pixels of a letterboxed picture on its canvas; None: as many as fit

    def __post_init__(self) -> None:
        if self.content_px is not None and self.content_px < 1024:
            raise ValueError(f"a picture takes at least 1024 pixels of its canvas, not {self.content_px}")
        if min(self.size_hw) < 32 or max(self.size_hw) > 4096:
            raise ValueError(f"a canvas is 32 to 4096 pixels a side, not {self.size_hw}")
        if not 0 <= self.tile_overlap <= 0.75:
            raise ValueError(f"tile_overlap is 0 to 0.75, not {self.tile_overlap}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")

    def to_json(self) -> Json:
        """Return the specification as JSON."""
        values: Json = {
            "size_hw": list(self.size_hw),
            "fit": self.fit.value,
            "levels": None if self.levels is None else [self.levels.black, self.levels.white],
            "mean": list(self.mean),
            "std": list(self.std),
            "area": None if self.area is None else self.area.to_json(),
            "tile_overlap": self.tile_overlap,
            "tile_merge": self.tile_merge.value,
        }
        # left out where it is not set, so that older bundles keep their identity when they are sealed again
        return values if self.content_px is None else values | {"content_px": self.content_px}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocess:
        """Read what `to_json` wrote."""
        height, width = values["size_hw"]
        return cls(
            size_hw=(int(height), int(width)),
            fit=Fit(values["fit"]),
            levels=None if values["levels"] is None else Levels(*values["levels"]),
            mean=_triple(values["mean"]),
            std=_triple(values["std"]),
            area=None if values["area"] is None else Area.from_json(values["area"]),
            tile_overlap=float(values["tile_overlap"]),
            tile_merge=Merge(values["tile_merge"]),
            content_px=values.get("content_px"),  # absent in the first bundles
        )


@dataclass(frozen=True, eq=False)
class Raw:
    """What the graph returns for one image, tiles merged: the score and the map over canvas or image."""

    score: float
    map: Array  # float32 (h, w)
    extras: Mapping[str, Array] = field(
        default_factory=dict
    )  # logits, evidence, features: only what was asked for


@dataclass(frozen=True)
class Change:
    """Who made a later version of a calibration, when (ISO 8601, UTC), how and why."""

    version: int  # the calibration of training is version 1
    who: str
    why: str
    at: str
    how: str  # by hand, by cost, by rate, by rank, by teaching

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return {"version": self.version, "who": self.who, "why": self.why, "at": self.at, "how": self.how}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Change:
        """Read what `to_json` wrote."""
        who, why, at, how = (str(values[name]) for name in ("who", "why", "at", "how"))
        return cls(int(values["version"]), who, why, at, how)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of good parts that were not taught, by which a new part is ranked.

    A part photographed several times counts once: its images share its weight of one (hierarchical conformal
    prediction, Lee, Barber and Willett 2023). `limit_ng` and `limit_review` are set where a threshold was
    chosen by cost or by hand; they are estimates and end the promise. `taught_since` counts the photographs
    that were taught after these scores were measured.
    """

    scores: Array  # float64 (n,), ascending
    maxima: Array  # float64 (n,), the same images' map maxima
    weights: Array  # float64 (n,), positive, adding up to `parts`
    parts: int
    mode: CalibrationMode
    alpha: float = 0.05  # share of good parts called NG
    review_alpha: float = 0.15  # share of good parts that are not OK
    split_digest: str = ""
    limit_ng: float | None = None
    limit_review: float | None = None
    limit_reason: str = ""  # who moved the limits, and why
    change: Change | None = None  # None: as training left it
    taught_since: int = 0

    def __post_init__(self) -> None:
        n = len(self.scores)
        if not (self.scores.shape == self.maxima.shape == self.weights.shape == (n,)) or n == 0:
            raise ValueError("a calibration needs scores, maxima and weights of one length, at least one")
        if not (np.isfinite(self.scores).all() and np.isfinite(self.maxima).all()):
            raise ValueError("calibration scores must be finite")
        if (np.diff(self.scores) < 0).any():
            raise ValueError("calibration scores must ascend")
        if self.weights.min() <= 0 or not np.isclose(self.weights.sum(), self.parts):
            raise ValueError("calibration weights must be positive and add up to the number of parts")
        if not 0 < self.alpha <= self.review_alpha < 1:
            raise ValueError(f"needs 0 < alpha <= review_alpha < 1, not {self.alpha}, {self.review_alpha}")

    def to_json(self) -> Json:
        """Return everything as JSON; numbers keep their full precision."""
        # left out where there is none, so that older bundles keep their identity when they are sealed again
        later: Json = {} if self.change is None else {"change": self.change.to_json()}
        if self.taught_since:
            later["taught_since"] = self.taught_since
        return later | {
            "scores": self.scores.tolist(),
            "maxima": self.maxima.tolist(),
            "weights": self.weights.tolist(),
            "parts": self.parts,
            "mode": self.mode.value,
            "alpha": self.alpha,
            "review_alpha": self.review_alpha,
            "split_digest": self.split_digest,
            "limit_ng": self.limit_ng,
            "limit_review": self.limit_review,
            "limit_reason": self.limit_reason,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        arrays = {name: np.asarray(values[name], np.float64) for name in ("scores", "maxima", "weights")}
        return cls(
            **arrays,
            parts=int(values["parts"]),
            mode=CalibrationMode(values["mode"]),
            alpha=float(values["alpha"]),
            review_alpha=float(values["review_alpha"]),
            split_digest=str(values["split_digest"]),
            limit_ng=values["limit_ng"],
            limit_review=values["limit_review"],
            limit_reason=str(values["limit_reason"]),
            change=Change.from_json(values["change"]) if "change" in values else None,
            taught_since=int(values.get("taught_since", 0)),
        )

    @property
    def version(self) -> int:
        """How many calibrations this bundle's line has had, this one included."""
        return 1 if self.change is None else self.change.version


@dataclass(frozen=True)
class Thresholds:
    """Limits on the score (`ng`, `review`) and on the map (`pixel`): above, not at, the limit is odd.

    `ng` is None where the parts are too few to say NG at the wished rate.
    """

    ng: float | None
    review: float | None
    pixel: float

    def to_json(self) -> Json:
        """Return the limits as JSON."""
        return {"ng": self.ng, "review": self.review, "pixel": self.pixel}


@dataclass(frozen=True)
class Promise:
    """What is promised about false alarms, what is estimated, and what the parts at hand cannot give, in
    words."""

    mode: CalibrationMode
    alpha: float
    review_alpha: float
    parts: int
    can_say_ng: bool
    bound: (
        float | None
    )  # this one bundle's false-alarm rate stays below it with `confidence`; None: not promised
    confidence: float
    parts_needed: int  # the least number of good parts with which alpha can be kept by ranks
    sentences: tuple[str, ...]  # for people, most important first

    def to_json(self) -> Json:
        """Return the promise as JSON."""
        return {
            "mode": self.mode.value,
            "alpha": self.alpha,
            "review_alpha": self.review_alpha,
            "parts": self.parts,
            "can_say_ng": self.can_say_ng,
            "bound": self.bound,
            "confidence": self.confidence,
            "parts_needed": self.parts_needed,
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True, eq=False)
class Region:
    """One connected place over the pixel threshold, in the pixels of the image as it came."""

    box_xyxy: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]  # (x, y) corners of the outline
    area_px: int
    peak: float  # of the map
    mean: float

    def to_json(self, *, contour: bool = False) -> Json:
        """Return the region as JSON, the outline only where asked for."""
        values: Json = {
            "box_xyxy": list(self.box_xyxy),
            "area_px": self.area_px,
            "peak": self.peak,
            "mean": self.mean,
        }
        return values | {"contour": [list(point) for point in self.contour]} if contour else values


@dataclass(frozen=True)
class Fault:
    """Why an image could not be judged: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, eq=False)
class Inspection:
    """The verdict on one image with everything that explains it."""

    path: str
    bundle_id: str
    verdict: Verdict | None
    error: Fault | None = None
    score: float | None = None
    p_value: float | None = None
    thresholds: Thresholds | None = None
    probabilities: Mapping[str, float] | None = None
    regions: tuple[Region, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    size_hw: tuple[int, int] | None = None  # of the image as it came
    map: Array | None = None  # float32 (h, w), over the whole image (padding cut off); not in the JSON

    def __post_init__(self) -> None:
        if (self.verdict is None) == (self.error is None):
            raise ValueError("an inspection has either a verdict or an error")

    @property
    def likeliest(self) -> str | None:
        """The most probable class; None where there are no classes."""
        chances = self.probabilities
        return max(chances, key=lambda name: chances[name]) if chances else None

    def to_json(self) -> Json:
        """Return the documented JSON of one image."""
        return {
            "path": self.path,
            "verdict": None if self.verdict is None else self.verdict.value,
            "error": None if self.error is None else {"code": self.error.code, "message": self.error.message},
            "score": self.score,
            "p_value": self.p_value,
            "thresholds": None if self.thresholds is None else self.thresholds.to_json(),
            "probabilities": None if self.probabilities is None else dict(self.probabilities),
            "regions": [region.to_json() for region in self.regions],
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "bundle_id": self.bundle_id,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Metric:
    """A measured number with its 95 % interval and how many it rests on; `value` None says why in
    `reason`."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value must say why")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError("a metric is a finite number, or None with a reason")

    def to_json(self) -> Json:
        """Return value, interval and n; the reason only where there is no value."""
        values: Json = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        return values | {"reason": self.reason} if self.value is None else values


@dataclass(frozen=True, eq=False)
class Judged:
    """A test sample beside its inspection."""

    sample: Sample
    inspection: Inspection

    def to_json(self) -> Json:
        """Return the inspection's JSON with the sample's identity and label."""
        known = {"id": self.sample.id, "label": self.sample.label, "product": self.sample.product}
        return known | self.inspection.to_json()


@dataclass(frozen=True, eq=False)
class Report:
    """What a bundle does on parts it has not seen.

    `metrics` is grouped: `image` (ranking), `verdict` (at the bundle's fixed thresholds), `pixel`;
    `per_defect` has one group a defect's name. `confusion` counts, for each label, how often each verdict was
    given (`not_judged` included); `class_confusion`, of a bundle with more than two classes, how often each
    was the most likely. A bundle for several products has metrics for each in `per_product`, and the name of
    the worst. `curves` are lists of points for drawing, e.g. `{"roc": {"x": [...], "y": [...]}}`.
    """

    bundle_id: str
    bundle_name: str
    method: str
    product: str
    split_digest: str
    metrics: Mapping[str, Mapping[str, Metric]]
    per_defect: Mapping[str, Mapping[str, Metric]]
    confusion: Mapping[str, Mapping[str, int]]
    promise: Promise
    thresholds: Thresholds
    calibration: Calibration
    judged: tuple[Judged, ...]
    timings_ms: Mapping[str, Mapping[str, float]]  # stage -> p50, p95
    machine: Mapping[str, str]
    size_bytes: int
    peak_memory_mb: float | None = None
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    created: str = ""  # ISO 8601, UTC
    settings: Mapping[str, Any] = field(default_factory=dict)
    class_confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # label -> most likely
    per_product: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)  # where there are several
    worst_product: str = ""

    def to_json(self) -> Json:
        """Return the documented JSON of `evaluate`."""
        return {
            "bundle_id": self.bundle_id,
            "bundle_name": self.bundle_name,
            "method": self.method,
            "product": self.product,
            "split_digest": self.split_digest,
            "created": self.created,
            "metrics": _groups(self.metrics),
            "per_defect": _groups(self.per_defect),
            "confusion": {label: dict(row) for label, row in self.confusion.items()},
            "class_confusion": {label: dict(row) for label, row in self.class_confusion.items()},
            "per_product": _groups(self.per_product),
            "worst_product": self.worst_product,
            "promise": self.promise.to_json(),
            "thresholds": self.thresholds.to_json(),
            "timings_ms": {stage: dict(row) for stage, row in self.timings_ms.items()},
            "machine": dict(self.machine),
            "size_bytes": self.size_bytes,
            "peak_memory_mb": self.peak_memory_mb,
            "curves": {name: dict(points) for name, points in self.curves.items()},
            "warnings": list(self.warnings),
            "settings": dict(self.settings),
            "samples": [judged.to_json() for judged in self.judged],
        }


def _groups(groups: Mapping[str, Mapping[str, Metric]]) -> Json:
    return {
        group: {name: metric.to_json() for name, metric in metrics.items()}
        for group, metrics in groups.items()
    }


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)
