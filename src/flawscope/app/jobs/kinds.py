"""What jobs do, one function a kind. They run in a process of their own, so what they import stays there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flawscope.core.errors import UsageError
from flawscope.core.progress import Progress
from flawscope.core.types import Json

Work = Callable[["JobContext"], Json]


@dataclass(frozen=True, eq=False)
class JobContext:
    """What a job is given."""

    arguments: Json
    out: Path  # a folder of its own
    progress: Progress

    def path(self, name: str) -> Path:
        """Return an argument that is a path; the server sets them, never a client."""
        return Path(str(self.arguments[name]))

    def settings(self) -> dict[str, Any]:
        """Return the settings that were chosen."""
        return dict(self.arguments.get("settings") or {})


def train(context: JobContext) -> Json:
    """Teach from a folder of photographs: `data`, `settings`. Gives `model`, the bundle's file."""
    import flawscope

    trained = flawscope.train(
        context.path("data"),
        out=context.out,
        settings=context.settings(),
        threads=int(context.arguments.get("threads", 0)),
        progress=context.progress,
    )
    return {"model": str(trained.bundle.path), "bundle_id": trained.bundle.id, "report": "report.html"}


def audit(context: JobContext) -> Json:
    """Look whether photographs are fit to teach from: `data`. Gives `report`, a page, and counts by kind."""
    from flawscope.flows.audit import audit as look
    from flawscope.flows.audit import write_audit

    found = look(context.path("data"), progress=context.progress)
    write_audit(found, context.out, progress=context.progress)
    return {"report": "audit.html", "findings": dict(Counter(one.kind for one in found.findings))}


def evaluate(context: JobContext) -> Json:
    """Test a bundle on labelled photographs: `model`, `data`. Gives `report` and the metrics of images."""
    import flawscope

    report = flawscope.evaluate(
        context.path("model"), context.path("data"), out=context.out, progress=context.progress
    )
    return {"report": "report.html", "metrics": report.to_json()["metrics"]}


def teach(context: JobContext) -> Json:
    """Teach a bundle further good parts: `model`, `add`, and `calibrate` and `manifest` where there are any.
    Gives `model`, the new bundle's file."""
    from datetime import UTC, datetime

    from flawscope.flows.teach import teach as grow
    from flawscope.flows.teach_samples import TeachSettings

    optional = {name: context.path(name) for name in ("calibrate", "manifest") if context.arguments.get(name)}
    taught = grow(
        context.path("model"),
        TeachSettings(
            add=context.path("add"),
            calibrate=optional.get("calibrate"),
            manifest=optional.get("manifest"),
            who=str(context.arguments.get("who", "")),
        ),
        context.out / "model.flaw",
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=int(context.arguments.get("threads", 0)),
        progress=context.progress,
    )
    return {
        "model": str(taught.bundle.path),
        "bundle_id": taught.bundle.id,
        "added": taught.added,
        "warnings": list(taught.warnings),
    }


KINDS: dict[str, Work] = {"train": train, "teach": teach, "audit": audit, "evaluate": evaluate}


def work_of(kind: str) -> Work:
    """Return the work of a kind. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"There is no kind of job {kind[:40]!r}", expected="one of " + ", ".join(KINDS))
    return KINDS[kind]
