"""The cleaned manifest: what is left out, moved or loses its mask, and why. Files are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flawscope.core.types import Role, Sample
from flawscope.data.audit.facts import side_of
from flawscope.data.audit.findings import Action, Finding

_TASTE = frozenset({"lighting", "focus", "framing", "layout"})  # wrong to teach from, but real in a test


@dataclass(frozen=True)
class Change:
    """What was done to one photograph's entry, and why."""

    sample_id: str
    action: Action
    why: str
    kind: str
    role: Role | None = None

    def row(self) -> tuple[str, str, str, str, str]:
        """Return the change as a line of the list: id, action, new role, kind, reason."""
        return (
            self.sample_id, self.action.value, "" if self.role is None else self.role.value, self.kind,
            self.why,
        )  # fmt: skip


def fixed(
    samples: Sequence[Sample], findings: Sequence[Finding]
) -> tuple[tuple[Sample, ...], tuple[Change, ...]]:
    """Return the samples as the findings' remedies leave them, in order, and the changes.

    Light, focus, framing and layout out of the ordinary leave a photograph out of teaching, not out of the
    test: the line will meet such photographs too. Labels are never changed. One that is left out is not
    moved as well; of several reasons the first stands.
    """
    known = {sample.id: sample for sample in samples}
    changes: dict[str, Change] = {}
    masks: dict[str, Change] = {}
    for finding in findings:
        for remedy in finding.remedies:
            sample = known[remedy.sample_id]
            if finding.kind in _TASTE and side_of(sample) is Role.TEST:
                continue
            change = Change(sample.id, remedy.action, finding.words, finding.kind, remedy.role)
            if remedy.action is Action.DROP_MASK:
                masks.setdefault(sample.id, change)
                continue
            earlier = changes.get(sample.id)
            if earlier is None or (earlier.action is Action.MOVE and remedy.action is Action.LEAVE_OUT):
                changes[sample.id] = change
    kept = []
    for sample in samples:
        made = changes.get(sample.id)
        if made is not None and made.action is Action.LEAVE_OUT:
            continue
        if made is not None:
            sample = replace(sample, role=made.role)
        if sample.id in masks:
            sample = replace(sample, mask_path=None)
        kept.append(sample)
    gone = {name for name, change in changes.items() if change.action is Action.LEAVE_OUT}
    told = [*changes.values(), *(change for name, change in masks.items() if name not in gone)]
    order = {sample.id: place for place, sample in enumerate(samples)}
    return tuple(kept), tuple(sorted(told, key=lambda change: order[change.sample_id]))
