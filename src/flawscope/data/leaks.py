"""Leaks: what would make a test look better than the line will be. Each raises; near-duplicates warn.

Copies, parts and groups in two roles are looked for within a data set; what a bundle has seen is remembered
in `Seen`, so that another day's test set can be checked against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flawscope.core.errors import DataError, LeakError
from flawscope.core.progress import Progress
from flawscope.core.types import Role, Sample
from flawscope.data.near import near_duplicates
from flawscope.data.splits import group_key

_SHOWN = 20  # warnings of one kind that are spelled out
_SEEN_VERSION = 1


def check_leaks(
    samples: Sequence[Sample],
    *,
    strict: bool = False,
    look: bool = True,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Return warnings about the samples' roles; samples without a role are passed over.

    Raises LeakError where the same content, part or group has two roles (and, when `strict`, for
    near-duplicates across roles), DataError where the same content has two labels. `look` False spares the
    reading of the images for near-duplicates.
    """
    used = [sample for sample in samples if sample.role is not None]
    _refuse_two_labels(samples)
    _refuse_two_roles(used, "the same content", {s.id: s.sha256 or None for s in used})
    _refuse_two_roles(used, "the same part", {s.id: s.part_key for s in used})
    _refuse_two_roles(used, "the same group", {s.id: group_key(s) for s in used})
    warnings = _copies_within_roles(used)
    if look:
        pairs, unread = near_duplicates(used, [str(s.role) for s in used], progress=progress)
        lines = [_pair(used[i], used[j]) for i, j in pairs]
        if lines and strict:
            raise LeakError(
                f"{len(lines)} near-duplicates stand in two roles",
                expected="none, as strictness was asked for",
                found=lines[0],
                remedy="Group the photographs of one part with --group-by, or take the copies out",
            )
        warnings += _shortened(lines)
        if unread:
            first = used[unread[0]].id
            warnings.append(f"{len(unread)} images could not be read to look for copies, the first {first}.")
    return tuple(warnings)


@dataclass(frozen=True)
class Seen:
    """What a bundle has seen, by role: contents, and the keys of parts and groups that were named.

    A sample without a named part is known by its content alone: its id is a file's name, and names such as
    000.png occur in every data set. Named parts and groups count within their product.
    """

    sha256: Mapping[Role, frozenset[str]]
    parts: Mapping[Role, frozenset[str]]
    groups: Mapping[Role, frozenset[str]]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Seen:
        """Gather the samples of FIT, SELECT and CALIBRATE; TEST is not seen. Raises ValueError for a sample
        without its digest."""
        by_role: dict[Role, list[Sample]] = {Role.FIT: [], Role.SELECT: [], Role.CALIBRATE: []}
        for sample in samples:
            if sample.role in by_role:
                by_role[sample.role].append(_with_digest(sample))
        return cls(
            sha256={role: frozenset(s.sha256 for s in found) for role, found in by_role.items()},
            parts={role: frozenset(s.part_key for s in found if s.part) for role, found in by_role.items()},
            groups={role: frozenset(filter(None, map(group_key, found))) for role, found in by_role.items()},
        )

    def joined(self, other: Seen) -> Seen:
        """Return what either has seen."""
        return Seen(*(_joined(mine, theirs) for mine, theirs in zip(self._all, other._all, strict=True)))

    def roles_of(self, sample: Sample) -> dict[Role, str]:
        """Return the roles in which a sample's content, part or group served, each with what it was known
        by. Raises ValueError for a sample without its digest."""
        keys = (
            ("its content", _with_digest(sample).sha256, self.sha256),
            ("its part", sample.part_key if sample.part else None, self.parts),
            ("its group", group_key(sample), self.groups),
        )
        found: dict[Role, str] = {}
        for why, key, by_role in keys:
            for role, known in by_role.items():
                if key is not None and key in known:
                    found.setdefault(role, why)
        return found

    @property
    def _all(self) -> tuple[Mapping[Role, frozenset[str]], ...]:
        return self.sha256, self.parts, self.groups

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON, sorted."""
        kinds = {"sha256": self.sha256, "parts": self.parts, "groups": self.groups}
        written = {
            kind: {role.value: sorted(keys) for role, keys in by_role.items()}
            for kind, by_role in kinds.items()
        }
        return {"version": _SEEN_VERSION, **written}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Seen:
        """Read what `to_json` wrote. Raises DataError for a newer version."""
        if values["version"] > _SEEN_VERSION:
            raise DataError(
                "The record of what was seen was written by a newer flawscope",
                expected=f"version {_SEEN_VERSION}",
                found=f"version {values['version']}",
                remedy="Update flawscope",
            )
        sha256, parts, groups = (
            {Role(role): frozenset(keys) for role, keys in values[kind].items()}
            for kind in ("sha256", "parts", "groups")
        )
        return cls(sha256, parts, groups)


def refuse_seen(samples: Sequence[Sample], seen: Seen) -> None:
    """Refuse to test on what was seen: all samples given are taken as a test, whatever their role.

    Raises LeakError that says how many and names the first with its reason, ValueError for a sample without
    its digest.
    """
    found: list[tuple[Sample, str, Role]] = []
    for sample in samples:
        keys = {
            "its content": (_with_digest(sample).sha256, seen.sha256),
            "its part": (sample.part_key if sample.part else None, seen.parts),
            "its group": (group_key(sample), seen.groups),
        }
        reasons = (
            (why, role)
            for why, (key, by_role) in keys.items()
            for role, known in by_role.items()
            if key is not None and key in known
        )
        if reason := next(reasons, None):
            found.append((sample, *reason))
    if found:
        sample, why, role = found[0]
        name = {"its part": f" {sample.part}", "its group": f" {sample.group}"}.get(why, "")
        raise LeakError(
            f"{len(found)} of {len(samples)} test images were seen by the bundle",
            expected="photographs, parts and groups that it has not met",
            found=f"{sample.id}: {why}{name} served as {role.name}",
            remedy="Test on other parts, or train anew with a split that holds these out",
        )


def _joined(
    mine: Mapping[Role, frozenset[str]], theirs: Mapping[Role, frozenset[str]]
) -> dict[Role, frozenset[str]]:
    empty: frozenset[str] = frozenset()
    return {role: mine.get(role, empty) | theirs.get(role, empty) for role in {**mine, **theirs}}


def _with_digest(sample: Sample) -> Sample:
    if not sample.sha256:
        raise ValueError(f"{sample.id} has no digest: with_digests fills it")
    return sample


def _refuse_two_roles(samples: Sequence[Sample], what: str, keys: Mapping[str, str | None]) -> None:
    first: dict[str, Sample] = {}
    for sample in samples:
        key = keys[sample.id]
        if key is None:
            continue
        other = first.setdefault(key, sample)
        if other.role is not sample.role:
            raise LeakError(
                f"{other.id} and {sample.id} are {what} in two roles",
                expected="each content, part and group in one role only",
                found=f"{_role(other)} and {_role(sample)}",
                remedy="Take one of them out, or let --resplit 70/20/10 deal them anew",
            )


def _refuse_two_labels(samples: Sequence[Sample]) -> None:
    first: dict[str, Sample] = {}
    for sample in samples:
        if not sample.sha256 or sample.label is None:
            continue
        other = first.setdefault(sample.sha256, sample)
        if other.label != sample.label:
            raise DataError(
                f"{other.id} and {sample.id} are the same content with two labels",
                found=f"{other.label} and {sample.label}",
                remedy="Keep the one that is right",
            )


def _copies_within_roles(samples: Sequence[Sample]) -> list[str]:
    first: dict[str, Sample] = {}
    lines = []
    for sample in samples:
        if sample.sha256 and (other := first.setdefault(sample.sha256, sample)) is not sample:
            lines.append(f"{other.id} and {sample.id} are the same content, both {_role(sample)}.")
    return _shortened(lines)


def _pair(one: Sample, other: Sample) -> str:
    return f"{one.id} ({_role(one)}) and {other.id} ({_role(other)}) look like copies of one photograph."


def _role(sample: Sample) -> str:
    return "no role" if sample.role is None else sample.role.name


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return lines if more <= 0 else [*lines[:_SHOWN], f"... and {more} more like the last."]
