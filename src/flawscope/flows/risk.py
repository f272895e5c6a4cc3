"""Risk: how bad the parts of a data set are, one by one and together, by the line's own inspector."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from flawscope.core.errors import DataError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Array, Role, Sample
from flawscope.data.coords import Coords, read_coords
from flawscope.data.splits import split_digest
from flawscope.data.zones import Zones, read_zones
from flawscope.decision.rated import Rated, RatedSample, RiskReport, analyse
from flawscope.decision.risk import QRS_THRESHOLD
from flawscope.flows.evaluate import EvaluateSettings, each_once, samples_of
from flawscope.report.sheets import RiskBook
from flawscope.runtime.inspector import Inspector
from flawscope.runtime.reading import Loaded, read_ahead
from flawscope.runtime.risk import RatedPhoto, Rater, limits_of

PICTURES = 24  # of the riskiest parts, on the page
REGIONS = ("picture", "foreground")


@dataclass(frozen=True)
class RiskSettings:
    """What is rated, and how."""

    data: Path
    layout: str = ""
    group_by: str = ""
    product: str = ""
    manifest: Path | None = None  # roles of a mixed folder; the bundle's own lies beside it
    roles: tuple[str, ...] = (Role.TEST.value,)
    threshold: float = QRS_THRESHOLD  # of qrs
    coords: Path | None = None  # where the product lies, image by image
    zones: Path | None = None  # which places of the product are critical
    region: str = REGIONS[0]  # where no coordinates are given

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UsageError(
                "The threshold of qrs does not fit", expected="0 to below 1", found=f"{self.threshold:g}"
            )
        if self.region not in REGIONS:
            raise UsageError(
                f"There is no region {self.region!r}",
                expected=" or ".join(REGIONS),
                remedy="Or give --coords",
            )
        known = [role.value for role in Role]
        unknown = [role for role in self.roles if role not in known]
        if unknown or not self.roles:
            raise UsageError(
                f"There is no role {', '.join(unknown) or 'named'}", expected="some of " + ", ".join(known)
            )


@dataclass(frozen=True, eq=False)
class Pictured:
    """One of the riskiest parts, for its picture: where it stands in the report, and its heat (1.0 is the
    pixel limit)."""

    rated: RatedSample
    heat: Array  # float16 (h, w)


@dataclass(frozen=True, eq=False)
class RiskResult:
    """The report, and what its pictures are made of, riskiest first."""

    report: RiskReport
    pictured: tuple[Pictured, ...]


def risk(
    model: Path | Inspector,
    settings: RiskSettings,
    *,
    book: RiskBook | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> RiskResult:
    """Rate the photographs of a data set that have the roles asked for; `book` is given every image's weights
    over the threshold as they come.

    Raises LeakError where the bundle has seen a TEST image, part or group, DataError where a role is empty or
    the coordinates lack an image.
    """
    progress = progress or Silent()
    inspector = model if isinstance(model, Inspector) else Inspector.open(model, threads=threads)
    places = _Places.of(settings)
    samples = samples_of(
        inspector.bundle,
        EvaluateSettings(
            data=settings.data,
            layout=settings.layout,
            group_by=settings.group_by,
            product=settings.product,
            manifest=settings.manifest,
        ),
        [Role(role) for role in settings.roles],
        progress=progress,
    )
    if places.coords is not None:
        places.coords.refuse_missing(samples)
    found: list[RatedSample] = []
    riskiest = _Riskiest()
    with progress.stage("Rating", len(samples)) as stage:
        for sample, photo in _rated(inspector, samples, settings, places):
            listed = 0
            if book is not None and photo.weights is not None and photo.region is not None:
                listed = book.add_weights(sample.id, photo.weights, photo.region, settings.threshold)
            found.append(RatedSample(sample, photo.rated, listed))
            riskiest.offer(found[-1], photo)
            stage.advance()
    return RiskResult(
        _report(inspector, settings, found, unlisted=0 if book is None else book.unlisted),
        riskiest.pictured(),
    )


@dataclass(frozen=True, eq=False)
class _Places:
    """What is known of where products lie, and which of their places are critical."""

    coords: Coords | None
    zones: Zones | None

    @classmethod
    def of(cls, settings: RiskSettings) -> _Places:
        return cls(
            None if settings.coords is None else read_coords(settings.coords),
            None if settings.zones is None else read_zones(settings.zones),
        )


@dataclass
class _Riskiest:
    """The few parts with the highest risks so far, with their maps: the others' maps are not kept."""

    kept: list[tuple[float, float, int, Pictured]] = field(default_factory=list)
    count: int = 0

    def offer(self, rated: RatedSample, photo: RatedPhoto) -> None:
        """Take a part in if it is one of the riskiest."""
        if rated.risk is None or photo.heat is None:
            return
        self.count += 1
        heat = np.clip(photo.heat, 0, 1000).astype(np.float16)  # colours end at twice the limit
        entry = (rated.risk, rated.rated.inspection.score or 0.0, -self.count, Pictured(rated, heat))
        if len(self.kept) < PICTURES:
            heapq.heappush(self.kept, entry)
        elif entry[:3] > self.kept[0][:3]:
            heapq.heapreplace(self.kept, entry)

    def pictured(self) -> tuple[Pictured, ...]:
        """Return them, riskiest first."""
        return tuple(entry[3] for entry in sorted(self.kept, key=lambda entry: entry[:3], reverse=True))


def _rated(
    inspector: Inspector, samples: Sequence[Sample], settings: RiskSettings, places: _Places
) -> Iterator[tuple[Sample, RatedPhoto]]:
    """Rate samples in order, each at its own product's limits where the bundle has them."""
    raters: dict[str, Rater] = {}
    paths = [sample.path for sample in samples]
    preprocess = inspector.bundle.contents.preprocess
    for sample, loaded in zip(samples, read_ahead(paths, preprocess), strict=True):
        judge = inspector if inspector.product else inspector.of_product(sample.product)
        if judge.product not in raters:
            raters[judge.product] = Rater(
                judge,
                threshold=settings.threshold,
                zones=places.zones,
                foreground=settings.region == "foreground",
            )
        yield sample, _photo(raters[judge.product], sample, loaded, places.coords)


def _photo(rater: Rater, sample: Sample, loaded: Loaded, coords: Coords | None) -> RatedPhoto:
    if loaded.image is None:
        return RatedPhoto(Rated(rater.inspector(loaded.path)))  # says what is wrong with the file
    outline = None if coords is None else coords.of(sample)
    if coords is None or outline is None:
        return rater(loaded.image, read_ms=loaded.read_ms)
    return rater(
        loaded.image,
        place=lambda size_hw: coords.region(outline, size_hw),
        place_words="mask given" if outline.mask else "coordinates given",
        read_ms=loaded.read_ms,
    )


def _report(
    inspector: Inspector, settings: RiskSettings, found: Sequence[RatedSample], *, unlisted: int
) -> RiskReport:
    bundle = inspector.bundle
    return RiskReport(
        bundle_id=bundle.id,
        bundle_name=bundle.contents.name,
        method=bundle.contents.method,
        product=bundle.contents.product,
        has_classes=bool(bundle.contents.classes),
        roles=settings.roles,
        seen=sum(one.sample.role is not Role.TEST for one in found),
        threshold=settings.threshold,
        limits=limits_of(inspector),
        rated=tuple(found),
        analysis=analyse(found),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        split_digest=split_digest([one.sample for one in found]),
        coords="" if settings.coords is None else settings.coords.as_posix(),
        zones="" if settings.zones is None else settings.zones.as_posix(),
        warnings=each_once(
            [*_notes(inspector, settings), *(warning for one in found for warning in one.rated.warnings)]
        ),
        unlisted=unlisted,
    )


def _notes(inspector: Inspector, settings: RiskSettings) -> list[str]:
    """Say what a reader of the scores should know of how they came about."""
    notes = []
    if tuple(settings.roles) != (Role.TEST.value,):
        notes.append(
            f"Roles {', '.join(settings.roles)}: what served to teach, choose or calibrate looks better than "
            "new parts will. Figures for others come from test alone."
        )
    if (
        settings.coords is not None or settings.region != REGIONS[0]
    ) and inspector.bundle.contents.risk_limits:
        notes.append(
            "The bands were set on whole pictures. Here the product's region is smaller, so that the same "
            "flaw has a larger share of it and a somewhat higher risk."
        )
    return notes


def roles_of(text: str) -> tuple[str, ...]:
    """Read `test,select` as roles. Raises DataError for none."""
    roles = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    if not roles:
        raise DataError("No role is named", expected="some of " + ", ".join(role.value for role in Role))
    return roles
