"""Training anew from a kept set and what people have said since: good parts, and bad ones with their defects
and masks.

Reviewed parts were picked by their score, so they get FIT and nothing else. What selects and calibrates comes
from the kept set, and from parts that were drawn at random from what passed.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.app.sets import is_label, mask_of, samples_of, set_name
from flawscope.app.station import Station
from flawscope.app.testing import tested_names, untested, untested_answers
from flawscope.core.errors import NotFoundError, UsageError
from flawscope.core.registry import Kind, did_you_mean, methods
from flawscope.core.types import GOOD, Json, Role, Sample
from flawscope.data.manifest import read_manifest, write_manifest
from flawscope.data.splits import SplitPlan, assign_roles
from flawscope.decision.calibration import parts_needed
from flawscope.flows.supervision import FEWEST_BAD
from flawscope.store.clock import iso
from flawscope.store.jobs import DONE, JobRecord
from flawscope.store.records import InspectionRecord
from flawscope.store.reviews import ReviewRecord

DEFAULT_METHOD = "joined"
MANIFEST = "manifest.jsonl"
UNNAMED = "defect"  # what a bad part is called whose defect nobody has named
_BAD = "bad"  # where photographs lie whose defect is no name for a folder
_ALPHA = 0.05
_CALIBRATE = (0.3, 0.5)  # the share of a kept set's good parts that calibrates, least and most

Answer = tuple[ReviewRecord, InspectionRecord]


@dataclass(frozen=True)
class KeptSet:
    """A set that a bundle was taught from at this station, and that is still there."""

    id: str
    title: str
    person: str
    at_us: int
    good: int
    bad: int
    settings: Json  # of that training

    def to_json(self) -> Json:
        """Return what the set is called and holds as JSON."""
        counts = {"good": self.good, "bad": self.bad}
        return {"id": self.id, "title": self.title, "at": iso(self.at_us), "person": self.person} | counts


@dataclass(frozen=True)
class Material:
    """What a training is begun with."""

    manifest: Path
    counts: Json  # good, bad and masks that were reviewed; calibrate: parts that calibrate
    reviews: list[str]
    samples: list[str]


def kept_sets(station: Station, *, limit: int = 6) -> list[KeptSet]:
    """Return the sets that were taught from, the latest first."""
    found: dict[str, KeptSet] = {}
    for job in station.store.jobs.all(limit=200):
        if job.kind != "train" or job.state != DONE or len(found) == limit:
            continue
        place = Path(str(job.arguments["data"]))
        id = place.parent.name if place.name == MANIFEST else place.name
        if id in found:
            continue
        try:
            labels = [one.label for one in station.sets.images(id)]
        except NotFoundError:  # it was removed
            continue
        good = labels.count(GOOD)
        settings = dict(job.arguments.get("settings") or {})
        found[id] = KeptSet(id, job.title, job.person, job.created_us, good, len(labels) - good, settings)
    return list(found.values())


def reviewed(station: Station, product: str | None) -> list[Answer]:
    """Return what people agree on and no test set holds, learnt from before or not."""
    return untested_answers(station, station.store.reviews.learnable(product=product, learnt=True))


def start_training(
    station: Station, kept: str, method: str, product: str, *, who: str
) -> tuple[JobRecord, Json]:
    """Start a training from a kept set and everything that was reviewed; return the job and what it is given.
    Raises NotFoundError for a set that nobody has taught from, UsageError for a method that does not learn
    from defects, or where there are too few of them."""
    supervised = [one.name for one in methods if one.kind is Kind.SUPERVISED]
    if method not in supervised:
        raise UsageError(
            f"{method} does not learn from labelled defects",
            expected="one of " + ", ".join(supervised),
            remedy=did_you_mean(method, supervised),
        )
    known = {one.id: one for one in kept_sets(station, limit=200)}
    if kept not in known:
        raise NotFoundError(f"No bundle was taught from the set {kept[:40]} here")
    line = station.line.active.of(product).record
    if line.product == "all":
        raise UsageError(
            "A bundle of several products is not trained anew at the station",
            remedy="Use flawscope train --product all",
        )
    alpha = float(known[kept].settings.get("alpha", _ALPHA))
    material = lay_out(station, kept, product=line.product, asked=product or None, alpha=alpha)
    chosen = {
        name: value
        for name, value in known[kept].settings.items()
        if name not in ("settings", "folds", "calibrate_share")
    }
    settings = chosen | {"method": method, "calibrate": "split", "name": line.name}
    if line.product:
        settings["product"] = line.product
    arguments: Json = {
        "data": str(material.manifest),
        "settings": settings,
        "reviews": material.reviews,
        "samples": material.samples,
    }
    title = f"{line.name}: {method} + {material.counts['good']} OK + {material.counts['bad']} NG"
    return station.jobs.add("train", title, arguments, who=who), material.counts


def lay_out(station: Station, kept: str, *, product: str, asked: str | None, alpha: float) -> Material:
    """Lay a kept set and what was reviewed into a set of their own, with a manifest that gives each
    photograph its role. Raises UsageError where too few bad parts would teach."""
    answers = reviewed(station, asked)
    shown = {set_name(part.image_sha256) for _, part in answers}
    # what was reviewed is FIT, whatever it served for in the kept set; what tests does not teach
    without = shown | tested_names(station)
    given = _dealt(station, kept, product, alpha=alpha, without=without)
    parts = {part.origin.part for _, part in answers if part.origin.part}
    drawn = [
        one
        for one in untested(station, station.store.samples.unused(product))
        if set_name(one.image_sha256) not in shown and one.origin.part not in parts
    ]
    taken = {Path(one.path).stem for one in given}
    drawn = [one for one in drawn if set_name(one.image_sha256) not in taken]
    bad_parts = {one.part_key for one in given if one.is_bad and one.role is Role.FIT}
    bad_parts |= {part.origin.part or part.id for said, part in answers if said.said.answer == "bad"}
    if len(bad_parts) < FEWEST_BAD:
        raise UsageError(
            "There are too few bad parts to learn from",
            expected=f"{FEWEST_BAD} or more that people have called NG; some dozens are a start",
            found=str(len(bad_parts)),
            remedy="Review some more, or learn the good ones alone",
        )
    id = station.sets.new()
    samples = [_copied(station, id, one) for one in given]
    samples += [_reviewed(station, id, said, part, product) for said, part in answers]
    samples += [_drawn(station, id, part, product) for part in drawn]
    manifest = station.sets.folder(id).resolve() / MANIFEST
    write_manifest(manifest, _once(samples))
    bad = [said for said, _ in answers if said.said.answer == "bad"]
    return Material(
        manifest,
        {
            "good": len(answers) - len(bad),
            "bad": len(bad),
            "masks": sum(bool(said.said.mask_sha256) for said in bad),
            "calibrate": sum(one.role is Role.CALIBRATE for one in samples),
        },
        [said.id for said, _ in answers],
        [one.id for one in drawn],
    )


def _dealt(station: Station, kept: str, product: str, *, alpha: float, without: Set[str]) -> Sequence[Sample]:
    """Return the photographs of a kept set with their roles, `without` those of these names: the roles of its
    training where its manifest says them, dealt anew where not."""
    folder = station.sets.folder(kept)
    if (folder / MANIFEST).is_file():
        return [one for one in read_manifest(folder / MANIFEST) if Path(one.path).stem not in without]
    samples = [one for one in samples_of(folder, product=product) if Path(one.path).stem not in without]
    good = sum(one.is_good for one in samples)
    least, most = _CALIBRATE
    share = min(most, max(least, parts_needed(alpha) / max(good, 1)))
    select = 15.0 if any(one.is_bad for one in samples) else 0.0
    plan = SplitPlan(100.0 - select, select, calibrate_share=share)
    return assign_roles(samples, plan, supervised=True).samples


def _copied(station: Station, id: str, sample: Sample) -> Sample:
    path = Path(sample.path)
    mask = None if sample.mask_path is None else Path(sample.mask_path).read_bytes()
    return _laid(station, id, path.read_bytes(), sample, mask=mask)


def _reviewed(station: Station, id: str, said: ReviewRecord, part: InspectionRecord, product: str) -> Sample:
    is_bad = said.said.answer == "bad"
    images = station.store.images
    mask = images.read(said.said.mask_sha256) if is_bad and said.said.mask_sha256 else None
    named = said.said.defect.strip()
    label = (named if named and named != GOOD else UNNAMED) if is_bad else GOOD
    sample = Sample("", "", label, product=product, part=part.origin.part, role=Role.FIT)
    return _laid(station, id, images.read(part.image_sha256), sample, mask=mask)


def _drawn(station: Station, id: str, part: InspectionRecord, product: str) -> Sample:
    sample = Sample("", "", GOOD, product=product, part=part.origin.part, role=Role.CALIBRATE)
    return _laid(station, id, station.store.images.read(part.image_sha256), sample)


def _laid(station: Station, id: str, content: bytes, sample: Sample, *, mask: bytes | None = None) -> Sample:
    """Keep a photograph in a set, with its mask, and return its sample there."""
    label = str(sample.label)
    place = label if is_label(label) else _BAD
    kept = station.sets.add(id, content, label=place) or station.sets.find(id, content)
    if mask is not None and not kept.mask:
        station.sets.add_mask(id, kept.name, mask)
    path = station.sets.folder(id).resolve() / kept.label / kept.name
    own_mask = mask_of(path).as_posix() if mask is not None else None
    return replace(
        sample, id=f"{kept.label}/{kept.name}", path=path.as_posix(), mask_path=own_mask, sha256=""
    )


def _once(samples: Sequence[Sample]) -> list[Sample]:
    """Return each photograph once, as it is named first: two parts may have one picture."""
    return list({one.id: one for one in reversed(samples)}.values())[::-1]
