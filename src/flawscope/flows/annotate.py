"""Annotating: photographs that a bundle does not call OK get masks and boxes, for supervised models to learn
from.

Each photograph is judged by the line's own inspector. What it marks, and how sure it is, goes into a journal
a line at a time; the formats are written from that, so that a run that was stopped goes on, and memory hardly
grows with the photographs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from flawscope.core import files
from flawscope.core.errors import DataError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Fault, Json, Role, Sample, Verdict
from flawscope.data.annotations import Annotated, Target, formats
from flawscope.data.annotations.journal import Entry, Journal
from flawscope.data.layouts import read_dataset
from flawscope.flows.listing import Found, found_in
from flawscope.flows.marking import AnnotateSettings, Marker, now
from flawscope.imaging.refine import Refine
from flawscope.runtime.inspector import Inspector

JOURNAL, SUMMARY = "annotations.jsonl", "annotate.json"


@dataclass
class Summary:
    """What a run has found and written."""

    folder: Path
    bundle: str
    photographs: int = 0
    resumed: int = 0  # done by an earlier run
    left_out: int = 0  # of other roles
    verdicts: dict[str, int] = field(default_factory=lambda: {verdict.value: 0 for verdict in Verdict})
    annotated: int = 0  # photographs with a mark
    places: int = 0
    refined: int = 0  # places drawn after the photograph
    labels: dict[str, list[int]] = field(default_factory=dict)  # photographs, places
    not_judged: list[tuple[str, Fault]] = field(default_factory=list)
    written: dict[str, Path] = field(default_factory=dict)  # what `train --data` is given, by format

    def add(self, entry: Entry) -> None:
        """Count one photograph."""
        self.photographs += 1
        if entry.verdict is None:
            assert entry.error is not None
            self.not_judged.append((entry.name, entry.error))
            return
        self.verdicts[entry.verdict.value] += 1
        self.annotated += bool(entry.annotations)
        self.places += len(entry.annotations)
        for label in {one.label for one in entry.annotations}:
            own = [one for one in entry.annotations if one.label == label]
            counts = self.labels.setdefault(label, [0, 0])
            counts[0] += 1
            counts[1] += len(own)
        origins = [one.provenance for one in entry.annotations]
        self.refined += sum(origin is not None and origin.refine != Refine.NONE for origin in origins)

    def to_json(self) -> Json:
        """Return the documented JSON."""
        return {
            "folder": self.folder.as_posix(),
            "bundle": self.bundle,
            "photographs": self.photographs,
            "resumed": self.resumed,
            "left_out": self.left_out,
            "verdicts": dict(self.verdicts),
            "annotated": self.annotated,
            "places": self.places,
            "refined": self.refined,
            "labels": {
                label: {"photographs": counts[0], "places": counts[1]}
                for label, counts in sorted(self.labels.items())
            },
            "not_judged": [
                {"image": name, "code": fault.code, "message": fault.message}
                for name, fault in self.not_judged
            ],
            "written": {name: path.as_posix() for name, path in self.written.items()},
        }


@dataclass(frozen=True)
class Chosen:
    """The photographs to be annotated: below which folder they lie, and what a list knows of them."""

    root: Path
    found: tuple[Found, ...]
    known: Mapping[str, Sample] = field(default_factory=dict)
    left_out: int = 0


def annotate(
    model: Path | Inspector,
    data: Path,
    out: Path,
    settings: AnnotateSettings,
    *,
    threads: int = 0,
    progress: Progress | None = None,
) -> Summary:
    """Judge the photographs of a folder or list, mark those that are not OK, and write every format into
    `out`.

    A run that was stopped goes on with the same call. Raises UsageError where `out` holds something else or a
    finished run (its labels may have been corrected since), DataError where there is nothing to judge, and
    BundleError.
    """
    progress = progress or Silent()
    _refuse_finished(out)
    inspector = model if isinstance(model, Inspector) else Inspector.open(model, threads=threads)
    chosen = _chosen(data, out, settings)
    marker = Marker(inspector, settings)
    journal = Journal(out / JOURNAL, marker.recipe(chosen.root))
    name = f"{inspector.bundle.contents.name} {inspector.bundle.id}"
    summary = Summary(out, name, left_out=chosen.left_out)
    try:
        _judge(chosen, journal, marker, summary, out=out, progress=progress)
    finally:
        journal.close()
    for entry in journal:
        summary.add(entry)
    target = Target(
        out,
        chosen.root.absolute(),
        tuple(sorted(summary.labels)),
        now(),
        name,
        settings.copy,
        chosen.known,
    )
    _write(settings, target, journal, summary, progress)
    files.write_text(out / SUMMARY, json.dumps(summary.to_json(), indent=2) + "\n")
    return summary


def _judge(
    chosen: Chosen, journal: Journal, marker: Marker, summary: Summary, *, out: Path, progress: Progress
) -> None:
    """Judge and mark what no earlier run has done."""
    stamps = {found: _stamp(found.path) for found in chosen.found}
    waiting = [found for found in chosen.found if not journal.knows(found.name.as_posix(), stamps[found])]
    summary.resumed = len(chosen.found) - len(waiting)
    with progress.stage("Annotating", len(chosen.found)) as stage:
        stage.advance(summary.resumed)
        inspections = marker.inspector.inspect([str(found.path) for found in waiting])
        for found, inspection in zip(waiting, inspections, strict=True):
            overlay_at = (
                out / "overlays" / f"{found.name.as_posix()}.jpg" if marker.settings.overlays else None
            )
            journal.add(marker.entry(found, stamps[found], inspection, overlay_at=overlay_at))
            stage.advance()


def _write(
    settings: AnnotateSettings, target: Target, journal: Journal, summary: Summary, progress: Progress
) -> None:
    listed = _Listed(journal, with_ok=settings.everything or settings.ok_as_good)
    names = tuple(dict.fromkeys(settings.formats))
    with progress.stage("Writing", len(names)) as stage:
        for name in names:
            own = replace(target, folder=target.folder / name)
            summary.written[name] = formats[name].write(own, listed)
            stage.advance()


@dataclass(frozen=True, eq=False)
class _Listed:
    """The judged photographs of a journal that the formats list, from the start each time."""

    journal: Journal
    with_ok: bool

    def __iter__(self) -> Iterator[Annotated]:
        for entry in self.journal:
            if entry.verdict is not None and (entry.verdict is not Verdict.OK or self.with_ok):
                yield entry.annotated


def _chosen(data: Path, out: Path, settings: AnnotateSettings) -> Chosen:
    """Return the photographs of a folder, or those of a list that have the role asked for. Raises DataError
    where none is left."""
    if not data.is_file():
        if settings.role is not None:
            raise UsageError("--role needs a list or a manifest", found=f"{data}, which is no file")
        if not data.is_dir():
            raise DataError(f"There is no folder or list {data}")
        return Chosen(data, tuple(found_in([data], besides=out)))
    dataset = read_dataset(data)
    kept = [
        sample
        for sample in dataset.samples
        if (sample.role is settings.role if settings.role else sample.role is not Role.TEST)
    ]
    if not kept:
        wanted = settings.role.value if settings.role else "any role but test"
        raise DataError(f"{data} lists no photograph to annotate", expected=f"some with {wanted}")
    root = dataset.root
    found = {sample: Found(Path(sample.path), _name(Path(sample.path), root)) for sample in kept}
    if any(not one.path.is_relative_to(root) for one in found.values()):
        root = Path(found[kept[0]].path.anchor)  # they lie in several places: names begin at the drive
        found = {sample: Found(Path(sample.path), _name(Path(sample.path), root)) for sample in kept}
    known = {one.name.as_posix(): sample for sample, one in found.items()}
    return Chosen(root, tuple(found.values()), known, len(dataset.samples) - len(kept))


def _name(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else Path(*PurePath(path).parts[1:])


def _refuse_finished(out: Path) -> None:
    """Raise UsageError where `out` is not new, empty, or an unfinished run."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"Nothing can be written into {out}", expected="a folder", found="a file")
    if (out / SUMMARY).exists():
        raise UsageError(
            f"{out} holds finished annotations",
            expected="a folder that is new or empty, or of a run that was stopped",
            remedy="Choose another: labels that were corrected here would be lost",
        )
    if out.is_dir() and not (out / JOURNAL).is_file() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty", expected="a folder that is new or empty")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # it will be named as not judged
        return (-1, -1)
    return found.st_size, found.st_mtime_ns
