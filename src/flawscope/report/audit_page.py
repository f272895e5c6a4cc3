"""An audit as one HTML file: what was found, kind by kind, with the photographs; no script, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flawscope.data.audit.find import all_kinds
from flawscope.data.audit.findings import Audit, Finding, Severity
from flawscope.report.audit_charts import measure_chart
from flawscope.report.page import environment

SHOWN = 24  # findings of one kind that have their pictures on the page
LISTED = 200  # further ones that are named
_BESIDE = 3  # photographs of one finding that are shown
SEVERITY_WORDS: Mapping[Severity, tuple[str, str]] = {
    Severity.ERROR: ("ng", "Error"),
    Severity.WARNING: ("review", "Warning"),
}


@dataclass(frozen=True)
class Shown:
    """One photograph of a finding: its name, its picture (None: cannot be read), label and role in words."""

    name: str
    picture: bytes | None
    label: str
    role: str


@dataclass(frozen=True)
class Group:
    """All findings of one kind: those with pictures, the names of further ones, and how many are left."""

    kind: str
    title: str
    meaning: str
    glyph: str
    word: str
    count: int
    images: int
    cards: tuple[tuple[Finding, tuple[Shown, ...], int], ...]
    further: tuple[Finding, ...]
    untold: int


def chosen(audit: Audit) -> tuple[str, ...]:
    """Return the ids of the photographs that the page shows, each once."""
    names: dict[str, None] = {}
    for kind in all_kinds():
        for finding in audit.of_kind(kind.name)[:SHOWN]:
            if kind.name != "broken_file":
                names.update(dict.fromkeys(finding.samples[:_BESIDE]))
    return tuple(names)


def render_audit(audit: Audit, *, pictures: Mapping[str, bytes]) -> str:
    """Return the page as HTML text; `pictures` holds small JPEGs by the id of their photograph."""
    charts = [chart for chart in map(measure_chart, audit.measures) if chart is not None]
    touched = {name for finding in audit.findings for name in finding.samples[:1]}
    return (
        environment()
        .get_template("audit.html")
        .render(
            audit=audit,
            groups=_groups(audit, pictures),
            clean=[kind for kind in all_kinds() if not audit.of_kind(kind.name)],
            severities=[(*SEVERITY_WORDS[severity], number) for severity, number in audit.counts().items()],
            touched=len(touched),
            charts=charts,
            name=audit.folder.rstrip("/").rsplit("/", 1)[-1] or audit.folder,
        )
    )


def _groups(audit: Audit, pictures: Mapping[str, bytes]) -> list[Group]:
    samples = {sample.id: sample for sample in audit.samples}
    groups = []
    for kind in all_kinds():
        findings = audit.of_kind(kind.name)
        if not findings:
            continue
        worst = min(findings, key=lambda finding: list(Severity).index(finding.severity)).severity
        cards = []
        for finding in findings[:SHOWN]:
            shown = tuple(
                Shown(
                    name,
                    pictures.get(name),
                    samples[name].label or "no label",
                    "" if samples[name].role is None else str(samples[name].role).upper(),
                )
                for name in finding.samples[:_BESIDE]
            )
            cards.append((finding, shown, max(0, len(finding.samples) - _BESIDE)))
        groups.append(
            Group(
                kind.name,
                kind.title,
                kind.meaning,
                *SEVERITY_WORDS[worst],
                len(findings),
                len({name for finding in findings for name in finding.samples[:1]}),
                tuple(cards),
                findings[SHOWN : SHOWN + LISTED],
                max(0, len(findings) - SHOWN - LISTED),
            )
        )
    return groups
