"""One cell carried out: teach, test, measure, and leave bundle, report, pictures and outcome in a folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flawscope.core.cells import Cell, Outcome, Scored, Status
from flawscope.core.errors import FlawscopeError, ImageError, MissingExtraError
from flawscope.core.files import write_bytes, write_text
from flawscope.core.types import Judged, Metric, Report
from flawscope.flows import api, environment
from flawscope.flows.compare import measuring
from flawscope.flows.compare.memory import own_peak_mb
from flawscope.flows.evaluate import EvaluateSettings, evaluate
from flawscope.flows.reporting import drawn, write_report
from flawscope.imaging.write import encode
from flawscope.methods.backbones import MISSING
from flawscope.methods.contract import Workshop
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.inspector import Inspector

OUTCOME = "outcome.json"
REPORT = "report"
PICTURES = "pictures"
_NOT_HERE = (MissingExtraError.default_code, MISSING)  # codes: nothing was tried


def carry_out(cell: Cell, folder: Path) -> Outcome:
    """Teach and test one cell; `folder` gets `model.flaw`, `report/`, `pictures/` and `outcome.json`.

    What flawscope itself refuses becomes an outcome with its reason; anything else is raised. Whoever calls
    this decides on the process, its memory and its time.
    """
    start = time.perf_counter()
    try:
        outcome = _measured(cell, folder, start)
    except FlawscopeError as error:
        status = Status.SKIPPED if error.code in _NOT_HERE else Status.FAILED
        outcome = Outcome(cell, status, str(error), seconds=time.perf_counter() - start)
    write_outcome(folder, outcome)
    return outcome


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write `outcome.json`, the last file of a cell: what has it is finished."""
    write_text(folder / OUTCOME, json.dumps(outcome.to_json(), allow_nan=False) + "\n")


def read_outcome(folder: Path, *, cell: Cell | None = None) -> Outcome | None:
    """Read what `write_outcome` wrote; None where there is nothing, or nothing that this version knows."""
    try:
        values = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        return Outcome.from_json(values, cell=cell)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measured(cell: Cell, folder: Path, start: float) -> Outcome:
    trained = api.train(
        cell.manifest,
        out=folder,
        settings={**cell.settings, "method": cell.method, "seed": cell.seed},
        weights_dir=cell.weights_dir,
        threads=cell.threads,
        workshop=Workshop(cell.device),
    )
    fit_memory = own_peak_mb()
    inspector = Inspector.open(trained.bundle.path, threads=cell.threads)
    settings = EvaluateSettings(
        Path(cell.manifest), product=str(cell.settings.get("product", "")), mask_above=cell.mask_above
    )
    report = evaluate(inspector, settings)
    levels = trained.bundle.contents.preprocess.levels
    write_report(report, folder / REPORT, levels=levels, mask_above=cell.mask_above)
    paths = [entry.sample.path for entry in report.judged if entry.inspection.verdict is not None]
    pace = measuring.pace(inspector, paths, cell.measuring)
    metrics = _metrics(report, cell)
    metrics |= {
        "fit_s": Metric(trained.seconds["teach"], n=1),
        "latency_p50_ms": _known(pace.stages_ms.get("total", {}).get("p50"), cell),
        "latency_p95_ms": _known(pace.stages_ms.get("total", {}).get("p95"), cell),
        "processor_ms": _known(pace.processor_ms, cell),
        "throughput": measuring.throughput(inspector, paths, cell.measuring)
        if paths
        else Metric(None, reason="no test photograph could be judged"),
        "size_mb": Metric(report.size_bytes / 1e6, n=1),
        "fit_memory_mb": _memory(fit_memory),
        "memory_mb": _memory(own_peak_mb()),
    }
    return Outcome(
        cell,
        Status.OK,
        metrics=metrics,
        per_defect=report.per_defect,
        samples=tuple(_scored(entry) for entry in report.judged),
        pictures=_pictures(report, cell, folder, trained.bundle),
        facts=_facts(report, trained.bundle, pace, trained.warnings),
        seconds=time.perf_counter() - start,
    )


def _metrics(report: Report, cell: Cell) -> dict[str, Metric]:
    """Return the metrics of quality by one flat name each."""
    found: dict[str, Metric] = {}
    for group, prefix in (("image", ""), ("verdict", ""), ("probability", ""), ("pixel", "pixel_")):
        for name, metric in report.metrics.get(group, {}).items():
            found[prefix + name] = metric
    if "pixel" not in report.metrics:
        missing = Metric(None, reason="no flaw is marked by a mask")
        found |= dict.fromkeys(
            ("pixel_auroc", "pixel_aupro_30", "pixel_aupro_05", "pixel_aupimo", "pixel_seg_f1"), missing
        )
    return found | measuring.heat_metrics(report.judged, mask_above=cell.mask_above)


def _known(milliseconds: float | None, cell: Cell) -> Metric:
    if milliseconds is None:
        return Metric(None, reason="no test photograph could be judged")
    return Metric(milliseconds, n=cell.measuring.repeats)


def _memory(megabytes: float | None) -> Metric:
    if megabytes is None:
        return Metric(None, reason="this system does not tell")
    return Metric(megabytes, n=1)


def _scored(entry: Judged) -> Scored:
    verdict = entry.inspection.verdict
    return Scored(
        entry.sample.id,
        entry.sample.label,
        entry.sample.part or entry.sample.id,
        entry.inspection.score,
        None if verdict is None else verdict.value,
    )


def _facts(report: Report, bundle: Bundle, pace: measuring.Pace, warnings: Sequence[str]) -> dict[str, Any]:
    contents = bundle.contents
    sizes = [entry.inspection.size_hw for entry in report.judged if entry.inspection.size_hw is not None]
    middle = tuple(int(value) for value in np.median(sizes, axis=0)) if sizes else contents.preprocess.size_hw
    return {
        "bundle_id": bundle.id,
        "backbone": contents.backbone.get("name", ""),
        "canvas_hw": list(contents.preprocess.size_hw),
        "photograph_hw": list(middle),
        "aspect": measuring.aspect(contents.preprocess, (middle[0], middle[1])),
        "promise": report.promise.to_json(),
        "limits": report.thresholds.to_json(),
        "stages_ms": {stage: dict(row) for stage, row in pace.stages_ms.items()},
        "load": pace.load,
        "taught": dict(contents.counts),
        "machine": dict(report.machine),
        "versions": environment.versions(),
        "warnings": [*warnings, *report.warnings],
    }


def _pictures(report: Report, cell: Cell, folder: Path, bundle: Bundle) -> dict[str, str]:
    """Draw the heat map over the test photographs that every model of the comparison shows."""
    made: dict[str, str] = {}
    by_id = {entry.sample.id: entry for entry in report.judged}
    chosen = shown_ids([(entry.sample.id, entry.sample.label) for entry in report.judged], cell)
    for number, sample_id in enumerate(chosen):
        entry = by_id[sample_id]
        try:
            pixels = drawn(
                entry,
                report,
                side=cell.measuring.side_px,
                levels=bundle.contents.preprocess.levels,
                mask_above=cell.mask_above,
            )
        except ImageError:
            continue
        if pixels is None:
            continue
        name = f"{PICTURES}/{number:04d}.jpg"
        write_bytes(folder / name, encode(pixels[1], ".jpg"))
        made[sample_id] = name
    return made


def shown_ids(labelled: Sequence[tuple[str, str | None]], cell: Cell) -> list[str]:
    """Choose which test photographs are drawn: of each label in turn, good ones among them, in the order of
    the test part; the same for every model."""
    by_label: dict[str, list[str]] = {}
    for sample_id, label in labelled:
        by_label.setdefault(label or "", []).append(sample_id)
    chosen: list[str] = []
    turn = 0
    while len(chosen) < min(cell.measuring.pictures, len(labelled)):
        for members in by_label.values():
            if turn < len(members) and len(chosen) < cell.measuring.pictures:
                chosen.append(members[turn])
        turn += 1
    return chosen
