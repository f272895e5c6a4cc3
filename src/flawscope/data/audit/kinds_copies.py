"""Kinds about the same thing twice: copies, two labels for one content, and leaks between roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from flawscope.core.types import Role, Sample
from flawscope.data.audit.copies import exact_copies
from flawscope.data.audit.facts import side_of
from flawscope.data.audit.findings import Action, Finding, Remedy, Severity
from flawscope.data.audit.registry import Measured, kind
from flawscope.data.splits import components_of, group_key

_SEPARATOR = "\x1f"  # of product and name in keys


@kind(
    "exact_copy",
    title="Exact copies",
    meaning="The same content under several names: it counts several times for nothing.",
)
def exact_copy(measured: Measured) -> Iterator[Finding]:
    """Name every copy beside the one that is kept: the test's, else the first."""
    for samples in _contents(measured):
        kept = _kept(samples)
        for copy in samples:
            if copy is not kept and side_of(copy) is side_of(kept):  # across roles it is a leak
                yield Finding(
                    "exact_copy",
                    Severity.WARNING,
                    (copy.id, kept.id),
                    f"The same content as {kept.id}",
                    "Keep one of them",
                    weight=1.0,
                    remedies=(Remedy(copy.id, Action.LEAVE_OUT),),
                )


@kind(
    "two_labels",
    title="One content, two labels",
    meaning="Copies that contradict each other: one label must be wrong.",
)
def two_labels(measured: Measured) -> Iterator[Finding]:
    """Name copies that are labelled differently."""
    for samples in _contents(measured):
        labels = sorted({sample.label for sample in samples if sample.label is not None})
        if len(labels) > 1:
            yield Finding(
                "two_labels",
                Severity.ERROR,
                tuple(sample.id for sample in samples),
                "The same content is labelled " + " and ".join(labels),
                "Keep the one that is right",
                weight=float(len(samples)),
                remedies=tuple(Remedy(sample.id, Action.LEAVE_OUT) for sample in samples),
            )


@kind(
    "near_copy",
    title="Near copies",
    meaning="The same photograph resized, recompressed, moved by a hair or in slightly other light.",
)
def near_copy(measured: Measured) -> Iterator[Finding]:
    """Name pairs of photographs that are one; across roles they are leaks instead."""
    for one, other, agreement in _pairs(measured):
        if side_of(one) is side_of(other):
            yield Finding(
                "near_copy",
                Severity.WARNING,
                (other.id, one.id),
                f"Looks like {one.id} again",
                "Keep one of them, or name both as one part",
                {"agreement": agreement},
                weight=agreement,
                remedies=(Remedy(other.id, Action.LEAVE_OUT),),
            )


@kind(
    "leak_copy",
    title="Copies across roles",
    meaning="What is tested was taught: the figures flatter.",
)
def leak_copy(measured: Measured) -> Iterator[Finding]:
    """Name copies, exact and near, whose roles differ; the taught one goes."""
    pairs = [(_kept(samples), other, 1.0) for samples in _contents(measured) for other in samples]
    for one, other, agreement in [*pairs, *_pairs(measured)]:
        if side_of(one) is side_of(other):
            continue
        kept = _kept([one, other])
        gone = other if kept is one else one
        how = "is the same content as" if agreement == 1.0 else "looks like"
        yield Finding(
            "leak_copy",
            Severity.ERROR,
            (gone.id, kept.id),
            f"{gone.id} ({side_of(gone).name}) {how} {kept.id} ({side_of(kept).name})",
            f"Leave the one in {side_of(gone).name} out",
            {"agreement": agreement},
            weight=agreement,
            remedies=(Remedy(gone.id, Action.LEAVE_OUT),),
        )


@kind(
    "leak_part",
    title="Parts in two roles",
    meaning="Photographs of one part both teach and test: the test meets what it knows.",
)
def leak_part(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose part stands in two roles."""
    yield from _straddling(
        measured, "leak_part", "part", lambda sample: sample.part_key if sample.part else None
    )


@kind(
    "leak_group",
    title="Groups in two roles",
    meaning="One lot, camera or day both teaches and tests: the test is easier than tomorrow.",
)
def leak_group(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose group stands in two roles."""
    yield from _straddling(measured, "leak_group", "group", group_key)


def _straddling(
    measured: Measured, name: str, what: str, key_of: Callable[[Sample], str | None]
) -> Iterator[Finding]:
    """Yield one finding for each part or group in two roles; those outside its proper role come first. What
    hangs together by parts and groups is moved as a whole, or the move would be another leak."""
    readable = [measured.facts.samples[row] for row in measured.facts.readable]
    hanging = components_of([replace(sample, sha256="") for sample in readable])
    home = {sample.id: place for place, members in enumerate(hanging) for sample in members}
    members: dict[str, list[Sample]] = {}
    for sample in readable:
        key = key_of(sample)
        if key is not None:
            members.setdefault(key, []).append(sample)
    for key, samples in members.items():
        roles = Counter(side_of(sample) for sample in samples)
        if len(roles) < 2:
            continue
        together = hanging[home[samples[0].id]]
        proper = _proper([side_of(sample) for sample in together])
        outside = [sample for sample in samples if side_of(sample) is not proper]
        inside = [sample for sample in samples if side_of(sample) is proper]
        target = next(sample.role for sample in together if side_of(sample) is proper)
        count = ", ".join(f"{n} {role.name}" for role, n in roles.most_common())
        yield Finding(
            name,
            Severity.ERROR,
            tuple(sample.id for sample in (*outside, *inside)),
            f"The {what} {key.rsplit(_SEPARATOR, 1)[-1]} stands in several roles: {count}",
            f"Move all of it to {proper.name}",
            {"outside": len(outside), "images": len(samples)},
            weight=float(len(outside)),
            remedies=tuple(_moved(sample, target) for sample in together if side_of(sample) is not proper),
        )


def _proper(roles: list[Role]) -> Role:
    """Return the commonest role; among equals the test keeps what it has."""
    counts = Counter(roles)
    return max(counts, key=lambda role: (counts[role], role is Role.TEST, role.value))


def _moved(sample: Sample, role: Role | None) -> Remedy:
    """Move a photograph where it is allowed to go: defective ones neither teach nor calibrate. Without a role
    it is dealt by training, as its like are."""
    if sample.is_bad and role in (Role.FIT, Role.CALIBRATE):
        return Remedy(sample.id, Action.LEAVE_OUT)
    return Remedy(sample.id, Action.MOVE, role)


def _contents(measured: Measured) -> Iterator[list[Sample]]:
    for rows in exact_copies(measured.facts):
        yield [measured.facts.samples[row] for row in rows]


def _pairs(measured: Measured) -> Iterator[tuple[Sample, Sample, float]]:
    for copy in measured.copies:
        yield measured.facts.samples[copy.one], measured.facts.samples[copy.other], copy.agreement


def _kept(samples: list[Sample]) -> Sample:
    """Return the copy to keep: the test's before others, then the first."""
    order = {Role.TEST: 0, Role.CALIBRATE: 1, Role.SELECT: 2, Role.FIT: 3}
    return min(samples, key=lambda sample: order[side_of(sample)])
