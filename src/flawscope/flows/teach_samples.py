"""Who teaches and who calibrates when a bundle learns on, and who must not: the leak rules of teaching."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flawscope.core.errors import DataError, LeakError
from flawscope.core.progress import Progress
from flawscope.core.types import CalibrationMode, Role, Sample
from flawscope.data.digests import with_digests
from flawscope.data.leaks import Seen, check_leaks
from flawscope.data.manifest import manifest_beside, read_manifest
from flawscope.data.splits import group_key
from flawscope.flows.data import ALL, gather, sound
from flawscope.runtime.bundle import Bundle


@dataclass(frozen=True)
class TeachSettings:
    """What is taught, and what calibrates afterwards."""

    add: Path  # good parts that teach, such as reviewed ones
    calibrate: Path | None = None  # good parts drawn at random from what passed, never from the queue
    manifest: Path | None = None  # of the training run; None: the one beside the bundle
    layout: str = ""
    group_by: str = ""
    backbone: str = ""  # empty: the bundle's, by its name
    weights_dir: Path | None = None
    who: str = ""


@dataclass(frozen=True, eq=False)
class Lesson:
    """The samples of one teaching, with their roles and digests."""

    added: tuple[Sample, ...]  # FIT
    calibrate: tuple[Sample, ...]  # all that calibrate the new bundle, those from before among them
    select: tuple[Sample, ...]  # from the training run, where at hand
    fit_at_hand: tuple[Sample, ...]  # taught before, where at hand
    manifest: tuple[Sample, ...]  # everybody that is known by name
    warnings: tuple[str, ...]


def samples_for(bundle: Bundle, settings: TeachSettings, *, progress: Progress) -> Lesson:
    """Find who teaches and who calibrates. Raises LeakError where a part would have two roles, DataError
    where nobody new teaches or calibration photographs are missing."""
    seen = bundle.contents.seen
    known = _known(bundle, settings)
    warnings: list[str] = []
    added = _good(bundle, settings, settings.add, Role.FIT, warnings, progress=progress)
    added = _admitted(added, seen, known, warnings)
    if not added:
        raise DataError(
            f"{settings.add} holds nothing new to teach from",
            expected="photographs of good parts that the bundle was not taught yet",
            found="; ".join(warnings) or "none",
        )
    offered: tuple[Sample, ...] = ()
    if settings.calibrate is not None:
        offered = _good(bundle, settings, settings.calibrate, Role.CALIBRATE, warnings, progress=progress)
    taken = {sample.id for sample in known}
    added = _distinct(added, taken)
    calibrate = _calibrating(bundle, known, _distinct(offered, taken), progress=progress)
    leaks = check_leaks((*added, *calibrate), progress=progress)
    at_hand = [sample for sample in known if Path(sample.path).is_file()]
    return Lesson(
        added=added,
        calibrate=calibrate,
        select=tuple(sample for sample in at_hand if sample.role is Role.SELECT),
        fit_at_hand=tuple(sample for sample in at_hand if sample.role is Role.FIT and sample.is_good),
        manifest=_together(known, added, calibrate),
        warnings=(*warnings, *leaks),
    )


def _known(bundle: Bundle, settings: TeachSettings) -> tuple[Sample, ...]:
    place = settings.manifest or manifest_beside(bundle.path)
    return () if place is None else read_manifest(place)


def _good(
    bundle: Bundle,
    settings: TeachSettings,
    folder: Path,
    role: Role,
    warnings: list[str],
    *,
    progress: Progress,
) -> tuple[Sample, ...]:
    """Return the good, readable samples of a folder with digests and this role."""
    product = bundle.contents.product
    dataset = gather(folder, layout=settings.layout, group_by=_pattern(bundle, settings))
    tested = [sample for sample in dataset.samples if sample.role is Role.TEST]
    if tested:
        raise LeakError(
            f"{tested[0].id} serves for TEST",
            expected="good parts that nobody tests with",
            found=f"{len(tested)} photographs of {folder} in a test part",
            remedy="Name the folder of the good parts itself",
        )
    good = [sample for sample in dataset.samples if sample.is_good]
    if left := len(dataset.samples) - len(good):
        warnings.append(f"{left} photographs of {folder.name} are not labelled good, and are left out.")
    readable, _, broken = sound(good, progress)
    warnings += list(broken)
    named = "" if product == ALL else product
    samples = tuple(replace(sample, role=role, product=sample.product or named) for sample in readable)
    return with_digests(samples, progress=progress)


def _pattern(bundle: Bundle, settings: TeachSettings) -> str:
    return settings.group_by or str(bundle.contents.environment.get("group_by", ""))


def _admitted(
    samples: Sequence[Sample], seen: Seen, known: Sequence[Sample], warnings: list[str]
) -> tuple[Sample, ...]:
    """Return the samples that may teach: those whose content was taught already are passed over."""
    tested = Seen(*(_of_test(known)))
    fresh = []
    for sample in samples:
        roles = seen.roles_of(sample) | tested.roles_of(sample)
        for role, why in roles.items():
            if role is not Role.FIT:
                raise _two_roles(sample, why, role, wanted=Role.FIT)
        if sample.sha256 not in seen.sha256.get(Role.FIT, frozenset()):
            fresh.append(sample)
    if len(fresh) < len(samples):
        warnings.append(f"{len(samples) - len(fresh)} photographs were taught already.")
    return tuple(fresh)


def _calibrating(
    bundle: Bundle, known: Sequence[Sample], offered: Sequence[Sample], *, progress: Progress
) -> tuple[Sample, ...]:
    """Return all that calibrate: those from before, found by their digests, and new ones."""
    seen = bundle.contents.seen
    before = seen.sha256.get(Role.CALIBRATE, frozenset())
    tested = Seen(*(_of_test(known)))
    listed = [s for s in known if s.role is Role.CALIBRATE and s.is_good and Path(s.path).is_file()]
    found = {sample.sha256: sample for sample in with_digests(listed, progress=progress)}
    found = {sha: sample for sha, sample in found.items() if sha in before}
    for sample in offered:
        for role, why in (seen.roles_of(sample) | tested.roles_of(sample)).items():
            if role is not Role.CALIBRATE:
                raise _two_roles(sample, why, role, wanted=Role.CALIBRATE)
        found.setdefault(sample.sha256, sample)
    missing = before - found.keys()
    if missing and bundle.contents.calibration.mode is CalibrationMode.SPLIT:
        raise DataError(
            f"{len(missing)} of the {len(before)} photographs that calibrated {bundle.path.name} are not at "
            "hand",
            expected="all of them, to be scored by what was learned",
            remedy="Say where they are with --manifest, or with --calibrate DIR",
            code="calibration_missing",
        )
    return tuple(found.values())


def _of_test(known: Iterable[Sample]) -> tuple[dict[Role, frozenset[str]], ...]:
    """Return contents, parts and groups of TEST as `Seen` holds them; what has no digest is known by the
    others alone."""
    tested = [sample for sample in known if sample.role is Role.TEST]
    return (
        {Role.TEST: frozenset(sample.sha256 for sample in tested if sample.sha256)},
        {Role.TEST: frozenset(sample.part_key for sample in tested if sample.part)},
        {Role.TEST: frozenset(filter(None, map(group_key, tested)))},
    )


def _two_roles(sample: Sample, why: str, role: Role, *, wanted: Role) -> LeakError:
    return LeakError(
        f"{sample.id} cannot serve as {wanted.name}",
        expected="parts that the bundle has not met in another role",
        found=f"{why} served as {role.name}",
        remedy="Take it out: each content, part and group has one role",
    )


def _distinct(samples: Sequence[Sample], taken: set[str]) -> tuple[Sample, ...]:
    """Return samples under ids that nobody has yet, and enter these in `taken`: files of two folders may
    share a name, and a sample without a named part is known by its id."""
    result = []
    for sample in samples:
        name, number = sample.id, 2
        while name in taken:
            name, number = f"{sample.id} ({number})", number + 1
        taken.add(name)
        result.append(replace(sample, id=name))
    return tuple(result)


def _together(
    known: Sequence[Sample], added: Sequence[Sample], calibrate: Sequence[Sample]
) -> tuple[Sample, ...]:
    """Return all samples known by name."""
    contents = {sample.sha256 for sample in known if sample.sha256}
    return (*known, *(sample for sample in (*added, *calibrate) if sample.sha256 not in contents))
