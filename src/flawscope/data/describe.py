"""What a data set holds, as plain rows for the terminal, the report and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flawscope.core.types import Role, Sample
from flawscope.data.splits import group_key

SizeOf = Callable[[Path], tuple[int, int] | None]


@dataclass(frozen=True)
class SizeRange:
    """The least, median (lower of two) and greatest height and width of images, in pixels, each by itself."""

    least_hw: tuple[int, int]
    median_hw: tuple[int, int]
    greatest_hw: tuple[int, int]
    unreadable: int  # images whose size could not be told


@dataclass(frozen=True)
class DatasetRow:
    """The counts of one label of one product."""

    product: str
    label: str | None
    images: int
    parts: int
    groups: int
    masks: int
    formats: dict[str, int]  # by the ending of the name
    roles: dict[str, int]  # `none` where no role is set
    size: SizeRange | None


@dataclass(frozen=True)
class DatasetTable:
    """The rows of a data set, by product, good first, and the counts over all."""

    rows: tuple[DatasetRow, ...]
    total: DatasetRow

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON."""
        return {"rows": [asdict(row) for row in self.rows], "total": asdict(self.total)}


def describe(samples: Sequence[Sample], *, size_of: SizeOf | None = None) -> DatasetTable:
    """Count what a data set holds. `size_of` reads an image's (height, width) in pixels, or None where it
    cannot; without it the rows have no sizes."""
    sizes = {} if size_of is None else {sample.id: size_of(Path(sample.path)) for sample in samples}
    kinds: dict[tuple[str, str | None], list[Sample]] = {}
    for sample in samples:
        kinds.setdefault((sample.product, sample.label), []).append(sample)
    ordered = sorted(
        kinds, key=lambda kind: (kind[0], not kinds[kind][0].is_good, kind[1] is None, str(kind[1]))
    )
    rows = tuple(_row(product, label, kinds[product, label], sizes) for product, label in ordered)
    return DatasetTable(rows, _row("", None, samples, sizes))


def _row(
    product: str,
    label: str | None,
    samples: Sequence[Sample],
    sizes: dict[str, tuple[int, int] | None],
) -> DatasetRow:
    roles = Counter("none" if sample.role is None else sample.role.value for sample in samples)
    formats = Counter(Path(sample.path).suffix.lower().lstrip(".") for sample in samples)
    return DatasetRow(
        product=product,
        label=label,
        images=len(samples),
        parts=len({sample.part_key for sample in samples}),
        groups=len({group_key(sample) for sample in samples} - {None}),
        masks=sum(sample.mask_path is not None for sample in samples),
        formats=dict(sorted(formats.items())),
        roles={role: roles[role] for role in (*(known.value for known in Role), "none") if roles[role]},
        size=_size([sizes[sample.id] for sample in samples]) if sizes else None,
    )


def _size(sizes: Sequence[tuple[int, int] | None]) -> SizeRange | None:
    known = [size for size in sizes if size is not None]
    if not known:
        return None
    heights, widths = (sorted(side) for side in zip(*known, strict=True))
    middle = (len(known) - 1) // 2
    return SizeRange(
        (heights[0], widths[0]),
        (heights[middle], widths[middle]),
        (heights[-1], widths[-1]),
        len(sizes) - len(known),
    )
