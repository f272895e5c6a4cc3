"""Kinds about what is said of the parts: labels that look wrong, and too few parts for the promise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flawscope.core.types import GOOD, Array, Role
from flawscope.data.audit.facts import side_of
from flawscope.data.audit.findings import Finding, Severity
from flawscope.data.audit.registry import Measured, kind

SUSPECT = 0.80  # probability that the label is wrong, by all witnesses


@kind(
    "suspect_label",
    title="Labels that look wrong",
    meaning="Judged by models that saw neither the photograph nor its part; the most improbable first.",
)
def suspect_label(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose label the others contradict. A person decides: nothing is changed."""
    for row in np.flatnonzero(is_suspect(measured)):
        sample, wrong = measured.facts.samples[row], float(measured.suspicion.wrong[row])
        looks = "looks defective" if sample.is_good else "looks good"
        yield Finding(
            "suspect_label",
            Severity.WARNING,
            (sample.id,),
            f"Labelled {sample.label}, {looks}",
            "Look at it: correct the label or keep it",
            {"probability_wrong": wrong, "oddness": float(np.nan_to_num(measured.suspicion.one_class[row]))},
            weight=wrong,
        )


@kind(
    "few_parts",
    title="Too few parts",
    meaning="Good parts are what the promised rate of false alarms is ranked with.",
)
def few_parts(measured: Measured) -> Iterator[Finding]:
    """Name products with fewer good parts than the wish needs."""
    facts = measured.facts
    parts: dict[str, set[str]] = {sample.product: set() for sample in facts.samples}
    for row in facts.readable:
        sample = facts.samples[row]
        if sample.label == GOOD and side_of(sample) in (Role.FIT, Role.CALIBRATE):
            parts[sample.product].add(sample.part_key)
    for product, found in parts.items():
        lacking = facts.parts_needed - len(found)
        if lacking > 0:
            name = f" of {product}" if product else ""
            yield Finding(
                "few_parts",
                Severity.WARNING,
                (),
                f"{len(found)} good parts{name} to teach from cannot say NG at {facts.alpha:.2g}: "
                f"{facts.parts_needed} are needed",
                f"Photograph {lacking} more good parts, or ask for a larger alpha",
                {"parts": len(found), "needed": facts.parts_needed},
                weight=float(lacking),
            )


def is_suspect(measured: Measured) -> Array:
    """Return whose label looks wrong, bool (n,)."""
    return np.asarray(np.nan_to_num(measured.suspicion.wrong, nan=0.0) > SUSPECT)
