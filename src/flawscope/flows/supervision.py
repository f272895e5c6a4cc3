"""What supervised methods need of the data: enough labelled defects beside the good parts."""

from __future__ import annotations

from flawscope.core.errors import DataError
from flawscope.core.registry import Kind, methods
from flawscope.core.types import Role, Sample
from flawscope.flows.data import Prepared
from flawscope.flows.settings import TrainSettings

FEWEST_BAD = 4  # separate bad parts that teach; below, a boundary follows chance


def defects_to_teach(
    prepared: Prepared, settings: TrainSettings, *, needed: bool = True
) -> tuple[Sample, ...]:
    """Return the bad samples of FIT. Raises DataError where they are `needed` and too few to be learned from;
    it says how many it takes and which methods learn from good parts alone."""
    bad = tuple(sample for sample in prepared.of(Role.FIT) if sample.is_bad)
    parts = len({sample.part_key for sample in bad})
    if parts >= FEWEST_BAD or not needed:
        return bad
    elsewhere = sum(s.is_bad and s.role is not Role.FIT for s in prepared.split.samples)
    others = ", ".join(entry.name for entry in methods if entry.kind is Kind.ONE_CLASS)
    dealing = " Or deal anew with --resplit 70/20/10." if elsewhere and not settings.resplit else ""
    raise DataError(
        f"{settings.method} learns from labelled defects, and there are too few to teach",
        expected=f"at least {FEWEST_BAD} bad parts in FIT; some dozens are a start",
        found=f"{parts} in FIT, {elsewhere} bad photographs with another role",
        remedy=f"Add labelled defects, or take a method that needs none: {others}.{dealing}",
    )
