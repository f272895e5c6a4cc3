"""`flawscope audit`: is this data fit to teach from?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, GroupBy, Layout
from flawscope.cli.progress import progress

if TYPE_CHECKING:
    from flawscope.data.audit.findings import Audit, Severity
    from flawscope.flows.audit import Fixed

FOUND = 10  # as `inspect --fail-on` leaves
_LINES = 3  # findings of one kind that are spelled out


class FailOn(StrEnum):
    """From which severity on an audit fails."""

    ERROR = "error"
    WARNING = "warning"


def audit(
    folder: Annotated[Path, typer.Argument(help="Folder, list or manifest.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the page goes; otherwise runs/NAME-audit."),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Write a cleaned manifest and what was left out; files are not touched."),
    ] = False,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Share of good parts that may be called NG.")
    ] = 0.05,
    setting: Annotated[
        str | None,
        typer.Option(
            "--setting",
            metavar="REGEX",
            help="Pattern on the path that names the setting of camera and lamp (exposure, view): light and "
            "focus are compared within it.",
        ),
    ] = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit code 10 where something so bad is found, or worse."),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Photographs that are read at a time.")
    ] = 2,
    as_json: AsJson = False,
) -> None:
    """Look for copies, leaks, wrong labels, odd light and focus, and files that cannot serve.

    Files are only read. Exit code 0 whatever is found, unless --fail-on asks for 10.
    """
    from flawscope.flows.audit import audit as look
    from flawscope.flows.audit import write_audit, write_fixed
    from flawscope.flows.audit_reading import AuditSettings

    settings = AuditSettings(alpha=alpha, setting=setting or "", workers=threads)
    place = out or Path("runs") / f"{folder.resolve().stem or 'data'}-audit"
    with progress() as listener:
        found = look(folder, settings=settings, layout=layout, group_by=group_by, progress=listener)
        page = write_audit(found, place, progress=listener)
    fixed = write_fixed(found, place) if fix else None
    if as_json:
        values = found.to_json() | {"page": str(page), "manifest": None, "changes": None}
        if fixed is not None:
            values |= {"manifest": str(fixed.manifest), "changes": fixed.counts()}
        words.say_json(values)
    else:
        tell(found, page, fixed, folder=folder)
    if fail_on is not None and _failed(found.counts(), fail_on):
        raise typer.Exit(FOUND)


def tell(found: Audit, page: Path, fixed: Fixed | None, *, folder: Path) -> None:
    """Print what was found, the gravest first, and what comes next."""
    from flawscope.data.audit.find import all_kinds

    counts = found.counts()
    parts = [words.counted(n, severity.value) for severity, n in counts.items() if n]
    said = ", ".join(parts) if parts else "nothing found"
    words.sentence(f"{folder}: {words.counted(len(found.samples), 'photograph')}, {said}.")
    for kind in all_kinds():
        findings = found.of_kind(kind.name)
        if not findings:
            continue
        words.say()
        words.say(f"{kind.title}: {len(findings)} ({findings[0].severity.value})")
        for finding in findings[:_LINES]:
            name = f"{finding.samples[0]}: " if finding.samples else ""
            words.sentence(f"{name}{finding.words}.", indent=2)
        if len(findings) > _LINES:
            words.say(f"  ... and {len(findings) - _LINES} more")
    if found.notes:
        words.say()
    for note in found.notes:
        words.sentence(f"Note: {note}")
    words.say()
    words.say(f"{page}   {len(found.samples) / max(found.seconds, 1e-9):.0f} images/s")
    if fixed is None:
        cleaned = f"flawscope audit {words.quoted(folder)} --fix"
        words.say(f"Next: open that page; {cleaned} writes a cleaned manifest." if parts else _teach(folder))
        return
    made = ", ".join(f"{n} {action}" for action, n in fixed.counts().items()) or "nothing changed"
    words.say(
        f"{fixed.manifest}   {words.counted(fixed.kept, 'photograph')} kept; {made}: {fixed.changes_csv}"
    )
    words.say(_teach(fixed.manifest))


def _teach(data: Path) -> str:
    return f"Next: flawscope train --data {words.quoted(data)}"


def _failed(counts: dict[Severity, int], fail_on: FailOn) -> bool:
    grave = {"error"} if fail_on is FailOn.ERROR else {"error", "warning"}
    return any(n for severity, n in counts.items() if severity.value in grave)
