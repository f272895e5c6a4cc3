"""Photographs on disk into what is wrong with them as lessons: facts in one pass, findings, a page."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flawscope.core.errors import DataError, ImageError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.progress import Progress, Silent
from flawscope.data.audit.find import find, remarks
from flawscope.data.audit.findings import Audit, Finding
from flawscope.data.audit.fixing import Change, fixed
from flawscope.data.audit.kinds_scene import measures
from flawscope.data.layouts import Dataset, read_dataset
from flawscope.data.manifest import write_manifest
from flawscope.flows.audit_reading import AuditSettings, gathered
from flawscope.imaging.read import read
from flawscope.imaging.write import encode, thumbnail
from flawscope.report.audit_page import chosen, render_audit
from flawscope.report.table import csv_text

PAGE, VALUES, TABLE = "audit.html", "audit.json", "audit.csv"
MANIFEST, CHANGES = "manifest.jsonl", "left_out.csv"
_PICTURE_SIDE = 200  # px, the longer


@dataclass(frozen=True)
class Fixed:
    """The cleaned manifest, the list of what was changed beside it, and how much of what."""

    manifest: Path
    changes_csv: Path
    kept: int
    changes: tuple[Change, ...]

    def counts(self) -> dict[str, int]:
        """Return how many entries were left out, moved, or lost their mask."""
        return dict(Counter(change.action.value for change in self.changes))


def audit(
    folder: Path,
    *,
    settings: AuditSettings | None = None,
    layout: str | None = None,
    group_by: str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look at every photograph of a folder, list or manifest and return what was found. Raises DataError as
    `read_dataset` does."""
    return audit_dataset(
        read_dataset(folder, layout=layout, group_by=group_by), settings=settings, progress=progress
    )


def audit_dataset(
    dataset: Dataset, *, settings: AuditSettings | None = None, progress: Progress | None = None
) -> Audit:
    """Look at every photograph of a data set and return what was found. Files are only read."""
    start = time.perf_counter()
    listener = progress or Silent()
    wishes = settings or AuditSettings()
    with gathered(dataset.samples, wishes, progress=listener) as facts:
        measured, findings = find(facts, progress=listener)
        return Audit(
            folder=dataset.root.as_posix(),
            layout=dataset.layout,
            alpha=wishes.alpha,
            samples=facts.samples,
            findings=findings,
            notes=(*dataset.notes, *remarks(measured)),
            measures=measures(measured),
            seconds=time.perf_counter() - start,
        )


def write_audit(found: Audit, out: Path, *, progress: Progress | None = None) -> Path:
    """Write `audit.html`, `audit.json` and `audit.csv` into a folder; return the page's path."""
    write_text(out / VALUES, json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    head = ("kind", "severity", "image", "compared_with", "words", "remedy", "numbers")
    rows = [_row(finding) for finding in found.findings]
    write_bytes(out / TABLE, csv_text(head, rows).encode(errors="replace"))
    paths = {sample.id: sample.path for sample in found.samples}
    wanted = chosen(found)
    pictures: dict[str, bytes] = {}
    with (progress or Silent()).stage("Drawing the page", len(wanted)) as stage:
        for name in wanted:
            picture = _picture(paths[name])
            if picture is not None:
                pictures[name] = picture
            stage.advance()
    page = out / PAGE
    write_bytes(page, render_audit(found, pictures=pictures).encode(errors="replace"))
    return page


def write_fixed(found: Audit, out: Path) -> Fixed:
    """Write the cleaned manifest and, beside it, what was left out, moved or lost its mask, and why. Raises
    DataError where nothing would be left."""
    samples, changes = fixed(found.samples, found.findings)
    if not samples:
        raise DataError(
            "No photograph is left once everything found is taken out", found=f"{len(changes)} changes"
        )
    write_manifest(out / MANIFEST, samples)
    head = ("id", "action", "role", "kind", "why")
    write_bytes(out / CHANGES, csv_text(head, [change.row() for change in changes]).encode(errors="replace"))
    return Fixed(out / MANIFEST, out / CHANGES, len(samples), changes)


def _row(finding: Finding) -> tuple[str, ...]:
    numbers = " ".join(f"{name}={value:.4g}" for name, value in finding.numbers.items())
    first, rest = (finding.samples[0], finding.samples[1:]) if finding.samples else ("", ())
    return (
        finding.kind, finding.severity.value, first, " ".join(rest), finding.words, finding.remedy, numbers,
    )  # fmt: skip


def _picture(path: str) -> bytes | None:
    try:
        return encode(thumbnail(read(path).pixels, _PICTURE_SIDE), ".jpg")
    except ImageError:
        return None
