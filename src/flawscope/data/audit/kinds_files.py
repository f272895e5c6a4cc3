"""Kinds about files by themselves: broken ones, mixed sizes and depths, masks that do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from flawscope.core.errors import ImageError
from flawscope.data.audit.facts import MaskLook
from flawscope.data.audit.findings import Action, Finding, Remedy, Severity
from flawscope.data.audit.registry import Measured, kind

_ONE_SIZE = 0.8  # share of a product's photographs from which their size is the size
_SCALE = 0.25  # of the logarithm of the sides: 28 %
_OFF_PART = 0.8  # share of a mask beside the part
_MOST_OF_ALL = 0.9  # of the picture: more is no flaw but a mask turned inside out
_FEWEST = 8  # photographs that can have a usual size


@kind(
    "broken_file",
    title="Files that cannot be read",
    meaning="Missing, empty, cut off, damaged, or no image at all.",
)
def broken_file(measured: Measured) -> Iterator[Finding]:
    """Name every file that cannot be read by its fault."""
    for row, error in sorted(measured.facts.faults.items()):
        yield Finding(
            "broken_file",
            Severity.ERROR,
            (measured.id(row),),
            _fault(error, measured.facts.samples[row].path),
            error.remedy.rstrip(".") or "Copy it again, or leave it out",
            weight=1.0,
            remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
        )


@kind(
    "size_mix",
    title="Another resolution",
    meaning="Taken or stored at another size than the rest of the product: flaws look another size there.",
)
def size_mix(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose size is not their product's."""
    facts = measured.facts
    far = measured.scale.off(least=_SCALE, deviations=5.0)
    for rows in _by_product(measured):
        sizes = Counter(facts.look(row).size_hw for row in rows)
        (height, width), most = sizes.most_common(1)[0]
        strict = len(rows) >= _FEWEST and most >= _ONE_SIZE * len(rows)
        for row in rows:
            own = facts.look(row).size_hw
            if far[row] or (strict and own != (height, width)):
                usual = f"{width}x{height}" if strict else "its like"
                factor = float(np.exp(np.nan_to_num(measured.scale.values[row])))
                yield Finding(
                    "size_mix",
                    Severity.WARNING,
                    (measured.id(row),),
                    f"{own[1]}x{own[0]} px where {usual} is usual"
                    if strict
                    else f"{own[1]}x{own[0]} px, {factor:.2g} times the usual size of {usual}",
                    "Bring all photographs of a product to one resolution, or leave this one out",
                    {"height_px": own[0], "width_px": own[1], "factor": factor},
                    weight=abs(float(np.log(factor))),
                    remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
                )


@kind(
    "depth_mix",
    title="Another depth or kind of colour",
    meaning="Grey among colour, or 16 bits among 8: the same part gives other numbers there.",
)
def depth_mix(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose bits or channels are not their product's."""
    facts = measured.facts
    for rows in _by_product(measured):
        depths = Counter((_depth(facts.look(row).bits), facts.look(row).colour) for row in rows)
        usual, most = depths.most_common(1)[0]
        if len(depths) == 1 or len(rows) < _FEWEST or most < _ONE_SIZE * len(rows):
            if len(depths) > 1 and len(rows) >= _FEWEST:
                odd = [row for row in rows if (_depth(facts.look(row).bits), facts.look(row).colour) != usual]
                yield Finding(
                    "depth_mix",
                    Severity.WARNING,
                    tuple(measured.id(row) for row in odd[:50]),
                    f"{len(odd)} of {len(rows)} photographs are not {_words(*usual)} as the others are",
                    "Teach them apart, or bring them to one form",
                    {"images": len(odd)},
                )
            continue
        for row in rows:
            look = facts.look(row)
            if (_depth(look.bits), look.colour) != usual:
                yield Finding(
                    "depth_mix",
                    Severity.WARNING,
                    (measured.id(row),),
                    f"{_words(_depth(look.bits), look.colour)} where {_words(*usual)} is usual",
                    "Store all photographs of a product in one form, or leave this one out",
                    {"bits": look.bits},
                    remedies=(Remedy(measured.id(row), Action.LEAVE_OUT),),
                )


@kind(
    "mask_misfit",
    title="Masks that do not fit",
    meaning="Of another size than the photograph, empty, beside the part, or on a good part.",
)
def mask_misfit(measured: Measured) -> Iterator[Finding]:
    """Name photographs whose mask contradicts them."""
    facts = measured.facts
    for row, mask in sorted(facts.masks.items()):
        sample = facts.samples[row]
        found = _mask_fault(mask, facts.look(row).size_hw, good=sample.is_good)
        if found is None:
            continue
        severity, words = found
        yield Finding(
            "mask_misfit",
            severity,
            (sample.id,),
            words,
            "Draw the mask anew, or leave it out"
            if not sample.is_good
            else "Correct the label or take the mask away",
            {"marked_share": mask.share},
            weight=mask.share,
            remedies=(Remedy(sample.id, Action.LEAVE_OUT if sample.is_good else Action.DROP_MASK),),
        )


def _mask_fault(mask: MaskLook, size_hw: tuple[int, int], *, good: bool) -> tuple[Severity, str] | None:
    if mask.fault:
        return Severity.ERROR, mask.fault
    if mask.size_hw != size_hw:
        (height, width), (tall, wide) = mask.size_hw, size_hw
        return Severity.ERROR, f"The mask is {width}x{height} px, the photograph {wide}x{tall} px"
    if good:
        return None if mask.share == 0 else (Severity.ERROR, "The label says good, the mask marks a flaw")
    if mask.share == 0:
        return Severity.WARNING, "The mask is empty, the label names a defect"
    if mask.share > _MOST_OF_ALL:
        return Severity.WARNING, f"The mask marks {mask.share:.0%} of the picture"
    if mask.off_part_share is not None and mask.off_part_share > _OFF_PART:
        return Severity.WARNING, f"{mask.off_part_share:.0%} of the mask lies beside the part"
    return None


def _fault(error: ImageError, path: str) -> str:
    """Return an error as words about a file that is named beside them."""
    subject = error.subject.replace(path, "It")
    return f"{subject} ({error.found.rstrip('.')})" if error.found else subject


def _by_product(measured: Measured) -> Iterator[list[int]]:
    rows_of: dict[str, list[int]] = {}
    for row in measured.facts.readable:
        rows_of.setdefault(measured.facts.samples[row].product, []).append(row)
    yield from rows_of.values()


def _depth(bits: int) -> int:
    return 16 if bits > 8 else 8


def _words(bits: int, colour: bool) -> str:
    return f"{bits} bits, {'colour' if colour else 'grey'}"
