"""Test sets at the station: labelled photographs that judge bundles and never teach or calibrate one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from flawscope.app.sets import set_name
from flawscope.app.station import Station
from flawscope.core.errors import ConflictError, LeakError, NotFoundError, UsageError
from flawscope.core.types import Json
from flawscope.store.jobs import JobRecord
from flawscope.store.records import BundleRecord, InspectionRecord
from flawscope.store.reviews import ReviewRecord
from flawscope.store.trials import TestSetRecord, TrialRecord


def start_trial(station: Station, test: str, bundle: str, against: str, *, who: str) -> JobRecord:
    """Start the job that measures `bundle` on a test set beside `against` (empty: the one that it would
    replace). Raises NotFoundError, and UsageError where there is nothing to compare or to test on."""
    record = station.store.trials.get_set(test)
    after = station.store.bundles.get(bundle)
    before = station.store.bundles.get(against) if against else replaced_by(station, after)
    if before is None:
        raise UsageError(
            "There is no bundle to compare with",
            expected="one on the line, or one that came before",
            remedy="Name one as `against`",
        )
    if before.id == after.id:
        raise UsageError("A bundle cannot be compared with itself", found=bundle)
    for product in (before.product, after.product):
        if record.product and product and product not in (record.product, "all"):
            raise UsageError(
                f"The test set {record.name!r} is of another product",
                expected=product,
                found=record.product,
            )
    if not station.tests.images(record.id):
        raise UsageError(f"The test set {record.name!r} is empty", remedy="Add photographs to it first")
    store = station.store
    arguments: Json = {
        "before": str(store.bundle_file(before.id).resolve()),
        "after": str(store.bundle_file(after.id).resolve()),
        "data": str(station.tests.folder(record.id).resolve()),
        "product": record.product,
        "test": record.id,
        "bundle": after.id,
        "against": before.id,
    }
    title = f"{after.name} {after.id[:6]}: {record.name}"
    return station.jobs.add("before_after", title, arguments, who=who)


def replaced_by(station: Station, candidate: BundleRecord) -> BundleRecord | None:
    """Return the bundle that a candidate is measured against: the one on the line for its product; for that
    one itself its parent, or what was on the line before; None where there is neither."""
    store = station.store
    on_line = [one.record for one in station.line.active.on_line()]
    same = [one for one in on_line if one.product == candidate.product] or on_line[:1]
    if same and same[0].id != candidate.id:
        return same[0]
    if candidate.parent:
        try:
            return store.bundles.get(candidate.parent)
        except NotFoundError:
            pass
    return store.bundles.before(candidate.product)


def refuse_looked_at(station: Station, record: TestSetRecord) -> None:
    """Refuse to change a set that somebody has looked at. Raises ConflictError."""
    looks = station.store.trials.looks().get(record.id, 0)
    if looks:
        raise ConflictError(
            f"The test set {record.name!r} stays as it is",
            found=f"it was looked at {looks} times",
            remedy="Begin another set: figures of different photographs cannot be compared",
            code="looked_at",
        )


def refuse_tested(station: Station, names: Iterable[str]) -> None:
    """Refuse to teach photographs of a set (by their names) that test. Raises LeakError."""
    wanted = set(names)
    for test in station.store.trials.sets():
        common = wanted & {one.name for one in station.tests.images(test.id)}
        if common:
            raise LeakError(
                "What tests does not teach",
                expected=f"photographs that are not in the test set {test.name!r}",
                found=f"{len(common)} that are",
                remedy="Take them out of one of the two",
            )


def tested_names(station: Station) -> set[str]:
    """Return the names, without their endings, of all photographs that are in a test set."""
    return {
        Path(one.name).stem for test in station.store.trials.sets() for one in station.tests.images(test.id)
    }


def untested(station: Station, parts: Sequence[InspectionRecord]) -> list[InspectionRecord]:
    """Return the parts whose photographs are in no test set."""
    held = tested_names(station)
    return [part for part in parts if set_name(part.image_sha256) not in held]


def untested_answers(
    station: Station, answers: Iterable[tuple[ReviewRecord, InspectionRecord]]
) -> list[tuple[ReviewRecord, InspectionRecord]]:
    """Return the answers to parts whose photographs are in no test set."""
    held = tested_names(station)
    return [(said, part) for said, part in answers if set_name(part.image_sha256) not in held]


def test_json(station: Station, record: TestSetRecord) -> Json:
    """Return a test set with its counts and how often it was looked at, as the documented JSON."""
    images = station.tests.images(record.id) if record.removed_us is None else []
    counts: dict[str, int] = {}
    for one in images:
        counts[one.label] = counts.get(one.label, 0) + 1
    return record.to_json() | {
        "counts": counts,
        "masks": sum(one.mask for one in images),
        "looks": station.store.trials.looks().get(record.id, 0),
    }


def trial_view(station: Station, record: TrialRecord) -> Json:
    """Return a look with its set's name and how often that was looked at, as the documented JSON."""
    test = station.store.trials.get_set(record.test_id, removed=True)
    looks = station.store.trials.looks()[record.test_id]
    return record.to_json() | {"test_name": test.name, "looks": looks}
