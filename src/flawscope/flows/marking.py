"""What an inspection becomes: places with masks, labels, confidence and provenance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flawscope import __version__
from flawscope.core.errors import ImageError, UsageError
from flawscope.core.types import GOOD, Fault, Image, Inspection, Json, Region, Role, Verdict
from flawscope.data.annotations import Annotation, Provenance, formats
from flawscope.data.annotations.journal import Entry
from flawscope.data.layouts.tree import label_of
from flawscope.decision.calibration import peak_p_value
from flawscope.flows.listing import Found
from flawscope.imaging.marking import SHARES, Level, Mark, Reach, level_of, marks_of
from flawscope.imaging.outlines import outlines
from flawscope.imaging.overlay import overlay
from flawscope.imaging.read import read
from flawscope.imaging.refine import Refine
from flawscope.imaging.write import write_image
from flawscope.runtime.inspector import Inspector

DEFECT = "defect"
_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]$')


@dataclass(frozen=True)
class AnnotateSettings:
    """What is marked, how, and in which formats."""

    formats: tuple[str, ...] = ("coco", "yolo", "voc", "png")
    refine: Refine = Refine.GRABCUT
    reach: Reach = Reach.RISE
    share: float | None = None  # of the reach; None takes the rule's own
    label: str = ""  # empty: the class that the bundle finds likeliest, else `defect`
    everything: bool = False  # parts that are OK are marked too, where their map lies above the pixel limit
    ok_as_good: bool = False  # parts that are OK are listed without marks, which readers take for good
    copy: bool = False
    overlays: bool = False
    role: Role | None = None  # of a list's photographs; None: all that are not TEST

    def __post_init__(self) -> None:
        for name in self.formats:
            formats[name]
        if not self.formats:
            raise UsageError(
                "No format was named", expected="one or more of " + ", ".join(f.name for f in formats)
            )
        if self.share is not None and not 0 < self.share < 1:
            raise UsageError(
                f"A share of {self.share:g} marks nothing", expected="more than 0 and less than 1"
            )
        if self.label and (_RESERVED.search(self.label) or label_of(self.label) == GOOD):
            raise UsageError(
                f"--label {self.label} cannot name a defect",
                expected="a word that a folder can be called, and that does not mean good",
            )

    @property
    def reach_share(self) -> float:
        """The share of the reach that counts."""
        return SHARES[self.reach] if self.share is None else self.share


@dataclass(frozen=True, eq=False)
class Marker:
    """What turns an inspection into annotations."""

    inspector: Inspector
    settings: AnnotateSettings

    def recipe(self, root: Path) -> Json:
        """Return everything that decides an entry, and below which folder names lie."""
        settings = self.settings
        return {
            "flawscope": __version__,
            "bundle_id": self.inspector.bundle.id,
            "product": self.inspector.product,
            "photographs": root.absolute().as_posix(),
            "refine": settings.refine.value,
            "reach": settings.reach.value,
            "share": settings.reach_share,
            "label": settings.label,
            "everything": settings.everything,
        }

    def entry(
        self, found: Found, stamp: tuple[int, int], inspection: Inspection, *, overlay_at: Path | None = None
    ) -> Entry:
        """Return the journal's line of one photograph; with `overlay_at` what is marked is drawn there."""
        name = found.name.as_posix()
        marks: tuple[Mark, ...] = ()
        level = self._level(inspection)
        if level is not None:
            needs_pixels = self.settings.refine is not Refine.NONE or overlay_at is not None
            image: Image | None = None
            if needs_pixels:
                try:
                    image = read(found.path, levels=self.inspector.bundle.contents.preprocess.levels)
                except ImageError as error:  # it was taken away since it was judged
                    return Entry(name, stamp, None, Fault(error.code, str(error)))
            marks = self._marks(inspection, level, image)
            if overlay_at is not None and image is not None:
                self._draw(overlay_at, image, inspection, marks)
        return Entry(
            name,
            stamp,
            inspection.verdict,
            inspection.error,
            inspection.p_value,
            inspection.score,
            inspection.size_hw,
            tuple(self._annotation(mark, level, inspection) for mark in marks if level is not None),
            inspection.warnings,
        )

    def _level(self, inspection: Inspection) -> Level | None:
        """Return down to where a photograph is marked, or None where it is not."""
        heat, limits = inspection.map, inspection.thresholds
        if inspection.verdict is None or heat is None or limits is None:
            return None
        if inspection.verdict is Verdict.OK and not (
            self.settings.everything and float(heat.max()) > limits.pixel
        ):
            return None
        return level_of(
            heat, pixel_limit=limits.pixel, reach=self.settings.reach, share=self.settings.reach_share
        )

    def _marks(self, inspection: Inspection, level: Level, image: Image | None) -> tuple[Mark, ...]:
        assert inspection.map is not None and inspection.size_hw is not None
        return marks_of(
            inspection.map,
            level=level.value,
            size_hw=inspection.size_hw,
            min_area_px=self.inspector.bundle.contents.min_area_px,
            pixels=None if image is None else image.pixels,
            refine=self.settings.refine,
        )

    def _annotation(self, mark: Mark, level: Level, inspection: Inspection) -> Annotation:
        assert inspection.p_value is not None
        rank = max(inspection.p_value, peak_p_value(self.inspector.calibration, mark.peak))
        origin = Provenance(
            by="flawscope",
            when=now(),
            version=__version__,
            bundle_id=inspection.bundle_id,
            method=self.inspector.bundle.contents.method,
            map="evidence" if inspection.probabilities else "anomaly",
            reach=level.reach.value,
            level=level.value,
            peak=mark.peak,
            refine=self.settings.refine.value if mark.is_refined else Refine.NONE.value,
        )
        return Annotation(
            self._label(inspection), mark.box_xyxy, mark.mask, round(max(0.0, 1.0 - rank), 6), origin
        )

    def _label(self, inspection: Inspection) -> str:
        """Return the name that was given, else the likeliest of several defects that the bundle knows."""
        classes = {name: share for name, share in (inspection.probabilities or {}).items() if name != GOOD}
        if self.settings.label or len(classes) < 2:
            return self.settings.label or DEFECT
        return max(classes, key=lambda name: classes[name])

    def _draw(self, place: Path, image: Image, inspection: Inspection, marks: Sequence[Mark]) -> None:
        assert inspection.map is not None
        limits = self.inspector.thresholds
        regions = []
        for mark in marks:
            left, top = mark.box_xyxy[:2]
            for ring in outlines(mark.mask, tolerance_px=1.0):
                contour = tuple((int(x) + left, int(y) + top) for x, y in ring)
                area = int(mark.mask.sum())
                regions.append(Region(mark.box_xyxy, contour, area, mark.peak, mark.mean))
        review = None if inspection.probabilities else limits.review
        pixels = overlay(image, inspection.map, limit=limits.pixel, review=review, regions=regions)
        write_image(place, pixels)


def now() -> str:
    """Return the time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
