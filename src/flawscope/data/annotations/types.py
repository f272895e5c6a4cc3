"""What is marked on a photograph: one annotation a place, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from flawscope.core.types import Array, Json
from flawscope.imaging import rle


@dataclass(frozen=True)
class Provenance:
    """Where an annotation comes from, so that whoever corrects it knows what it rests on."""

    by: str  # flawscope, or the person or tool that drew it
    when: str = ""  # ISO 8601, UTC
    version: str = ""  # of flawscope
    bundle_id: str = ""
    method: str = ""
    map: str = ""  # which map of the bundle was marked: anomaly, or evidence of a classifier
    reach: str = ""  # the rule by which the mark ends
    level: float | None = None  # of the map, above which pixels are marked
    peak: float | None = None  # of the map inside the mark
    refine: str = "none"  # what drew it after the photograph; none where that was not asked for or ran away

    def to_json(self) -> Json:
        """Return everything that is known; empty fields are left out."""
        return {name: value for name, value in vars(self).items() if value not in ("", None)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Provenance:
        """Read what `to_json` wrote; fields of a newer version are passed over."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{"by": "", **known})


@dataclass(frozen=True, eq=False)
class Annotation:
    """One marked place: its box and, where the pixels are known, its mask within the box.

    With a mask the box is in whole pixels and the mask touches each of its edges. `confidence` (0 to 1) is
    None where nobody said.
    """

    label: str
    box_xyxy: tuple[float, float, float, float]
    mask: Array | None = None  # bool (bottom - top, right - left)
    confidence: float | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box_xyxy
        if not self.label:
            raise ValueError("an annotation needs a label")
        if not all(map(math.isfinite, self.box_xyxy)) or not (0 <= left < right and 0 <= top < bottom):
            raise ValueError(f"a box needs 0 <= left < right and 0 <= top < bottom, not {self.box_xyxy}")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"a confidence is 0 to 1, not {self.confidence}")
        if self.mask is None:
            return
        if self.mask.dtype != np.bool_ or self.mask.shape != (bottom - top, right - left):
            raise ValueError(
                f"the mask must be bool and fill the box {self.box_xyxy}, "
                f"not {self.mask.dtype} {self.mask.shape}"
            )
        edges = (self.mask[0], self.mask[-1], self.mask[:, 0], self.mask[:, -1])
        if not all(edge.any() for edge in edges):
            raise ValueError("the mask must touch each edge of its box")

    @classmethod
    def of_mask(
        cls,
        mask: Array,
        label: str,
        *,
        at_xy: tuple[int, int] = (0, 0),
        confidence: float | None = None,
        provenance: Provenance | None = None,
    ) -> Annotation:
        """Make the annotation of a mask bool (H, W) that begins at `at_xy` of its photograph. Raises
        ValueError for an empty one."""
        if not mask.any():
            raise ValueError("an empty mask marks nothing")
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
        cut = mask[top : top + height, left : left + width].copy()
        left, top = left + at_xy[0], top + at_xy[1]
        return cls(label, (left, top, left + width, top + height), cut, confidence, provenance)

    @property
    def area_px(self) -> float:
        """The number of marked pixels, or the box's area where they are not known."""
        left, top, right, bottom = self.box_xyxy
        return (right - left) * (bottom - top) if self.mask is None else int(np.count_nonzero(self.mask))

    def full_mask(self, size_hw: tuple[int, int]) -> Array:
        """Return the mask over the whole photograph, bool (H, W). Raises ValueError where there is none."""
        if self.mask is None:
            raise ValueError("a box alone does not say which pixels it means")
        full = np.zeros(size_hw, bool)
        left, top, right, bottom = (int(side) for side in self.box_xyxy)
        full[top:bottom, left:right] = self.mask
        return full

    def to_json(self) -> Json:
        """Return everything as JSON, the mask as run lengths within the box."""
        values: Json = {"label": self.label, "box_xyxy": list(self.box_xyxy), "confidence": self.confidence}
        if self.mask is not None:
            values["mask"] = rle.packed(rle.counts_of(self.mask))
        if self.provenance is not None:
            values["provenance"] = self.provenance.to_json()
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Annotation:
        """Read what `to_json` wrote. Raises ValueError or KeyError for anything else."""
        left, top, right, bottom = values["box_xyxy"]
        mask = None
        if "mask" in values:
            mask = rle.mask_of(rle.unpacked(values["mask"]), (round(bottom - top), round(right - left)))
        origin = values.get("provenance")
        return cls(
            values["label"],
            (left, top, right, bottom),
            mask,
            values.get("confidence"),
            None if origin is None else Provenance.from_json(origin),
        )


@dataclass(frozen=True, eq=False)
class Annotated:
    """A photograph and what is marked on it; nothing marked means that it is good."""

    name: str  # its path below the photographs' folder, with forward slashes
    size_hw: tuple[int, int]
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or min(self.size_hw) < 1:
            raise ValueError(f"a photograph needs a name and a size, not {self.name!r} {self.size_hw}")
        for one in self.annotations:
            if one.box_xyxy[2] > self.size_hw[1] or one.box_xyxy[3] > self.size_hw[0]:
                raise ValueError(f"{self.name}: the box {one.box_xyxy} leaves the picture {self.size_hw}")

    @property
    def label(self) -> str | None:
        """The label that most annotations have (the first of them where two are level), or None."""
        labels = [one.label for one in self.annotations]
        return max(dict.fromkeys(labels), key=labels.count) if labels else None

    def mask(self) -> Array | None:
        """Return all marked pixels, bool (H, W); None where some place is a box only, as part of the truth
        would call the rest good. Of a photograph with nothing marked it is empty."""
        if any(one.mask is None for one in self.annotations):
            return None
        full = np.zeros(self.size_hw, bool)
        for one in self.annotations:
            left, top, right, bottom = (int(side) for side in one.box_xyxy)
            full[top:bottom, left:right] |= one.mask
        return full
