"""What jobs do, one function a kind. They run in a process of their own, so what they import stays there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flawscope.app.sets import samples_of
from flawscope.core.errors import UsageError
from flawscope.core.progress import Progress
from flawscope.core.types import Json, Role

if TYPE_CHECKING:
    from flawscope.flows.side_by_side import BeforeAfter, Pair

Work = Callable[["JobContext"], Json]
_CHANGED = 400  # photographs with two verdicts that are named, those farthest apart first
_FIGURES = (
    ("image", "auroc"), ("verdict", "escape"), ("verdict", "overkill"), ("verdict", "review_share"),
    ("pixel", "aupro_30"),
)  # fmt: skip


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


def before_after(context: JobContext) -> Json:
    """Measure two bundles on a test set that neither has seen: `before`, `after`, `data` (the set's folder)
    and `product`. Gives `trial`, what changes: see `trial_json`."""
    from flawscope.data.manifest import write_manifest
    from flawscope.flows.evaluate import EvaluateSettings
    from flawscope.flows.side_by_side import before_after as measure
    from flawscope.runtime.inspector import Inspector

    product = str(context.arguments.get("product", ""))
    samples = [replace(one, role=Role.TEST) for one in samples_of(context.path("data"), product=product)]
    manifest = context.out / "manifest.jsonl"
    write_manifest(manifest, samples)
    threads = int(context.arguments.get("threads", 0))
    found = measure(
        Inspector.open(context.path("before"), threads=threads),
        Inspector.open(context.path("after"), threads=threads),
        EvaluateSettings(data=manifest, pixels=any(one.mask_path for one in samples)),
        progress=context.progress,
    )
    return {"trial": trial_json(found)}


def trial_json(found: BeforeAfter) -> Json:
    """Return what the station keeps of two bundles on a test set: how many change sides, what that does to
    the figures, and which photographs they are."""
    pairs = found.compared.disagreements()
    return {
        "images": len(found.compared.pairs),
        "good": found.good.to_json(),
        "bad": found.bad.to_json(),
        "auroc_gain": found.auroc_gain.to_json(),
        "figures": [
            {
                "name": name,
                "before": found.before.metrics[group][name].to_json(),
                "after": found.after.metrics[group][name].to_json(),
            }
            for group, name in _FIGURES
            if name in found.before.metrics.get(group, {}) and name in found.after.metrics.get(group, {})
        ],
        "table": [
            {"before": first, "after": second, "count": count}
            for first, row in found.compared.table.items()
            for second, count in row.items()
            if count
        ],
        "changed": [_changed(pair) for pair in pairs[:_CHANGED]],
        "changed_all": len(pairs),
        "words": list(found.words),
    }


def _changed(pair: Pair) -> Json:
    first, second = pair.verdicts
    return {
        "name": Path(pair.path).name,
        "label": pair.label,
        "before": {"verdict": first, "p_value": pair.before.p_value},
        "after": {"verdict": second, "p_value": pair.after.p_value},
    }


KINDS: dict[str, Work] = {
    "train": train, "teach": teach, "audit": audit, "evaluate": evaluate, "before_after": before_after,
}  # fmt: skip


def work_of(kind: str) -> Work:
    """Return the work of a kind. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"There is no kind of job {kind[:40]!r}", expected="one of " + ", ".join(KINDS))
    return KINDS[kind]
