"""All kinds over one set of facts: the findings in the order of the table, the worst of each kind first."""

from __future__ import annotations

import numpy as np

from flawscope.core.progress import Progress
from flawscope.data.audit import kinds_copies, kinds_files, kinds_labels, kinds_scene
from flawscope.data.audit.facts import Facts
from flawscope.data.audit.findings import Finding
from flawscope.data.audit.registry import Kind, Measured, compare, kinds

__all__ = ["kinds_copies", "kinds_files", "kinds_labels", "kinds_scene"]  # entered in the table by importing

TOLD_FIRST = (
    "broken_file", "leak_copy", "leak_part", "leak_group", "two_labels", "exact_copy", "near_copy",
    "suspect_label", "stranger", "lighting", "focus", "framing", "layout", "size_mix", "depth_mix",
    "mask_misfit", "few_parts",
)  # fmt: skip

_WIDE_LIGHT = 0.05  # a usual spread beyond which a gain of 20 % is lost in it


def all_kinds() -> tuple[Kind, ...]:
    """Return every kind in the order in which it is told; one that is new comes last."""
    known = [kinds[name] for name in TOLD_FIRST]
    return (*known, *(kind for kind in kinds if kind.name not in TOLD_FIRST))


def find(facts: Facts, *, progress: Progress) -> tuple[Measured, tuple[Finding, ...]]:
    """Compare the photographs and ask every kind."""
    measured = compare(facts, progress=progress)
    found: list[Finding] = []
    for kind in all_kinds():
        found += sorted(kind.look(measured), key=lambda finding: -finding.weight)
    return measured, tuple(found)


def remarks(measured: Measured) -> tuple[str, ...]:
    """Say what could not be looked at, and why."""
    facts = measured.facts
    lines = []
    readable = facts.readable
    unknown = int((~np.isfinite(measured.light.values[readable])).sum())
    if unknown:
        lines.append(f"Light and focus of {unknown} photographs have nothing to be compared with: too few.")
    spread = measured.light.spread[readable]
    spread = spread[np.isfinite(spread)]
    if len(spread) and float(np.median(spread)) > _WIDE_LIGHT:
        lines.append(
            "The light varies so widely that a change of a fifth cannot be told: where the names tell the "
            "setting of camera or lamp, say how with --setting."
        )
    labels = {facts.samples[row].is_good for row in readable if facts.samples[row].label is not None}
    if not measured.suspicion.witnesses:
        lines.append("Labels were not checked: too few labelled photographs of separate parts.")
    elif labels == {True}:
        lines.append("No defects are labelled: good parts were checked against one another only.")
    return tuple(lines)
