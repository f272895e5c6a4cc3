"""The Python interface: what the commands call, with plain arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flawscope.core.config import build
from flawscope.core.progress import Progress
from flawscope.core.types import Report
from flawscope.decision.rated import RiskReport
from flawscope.flows.evaluate import EvaluateSettings, training_report
from flawscope.flows.evaluate import evaluate as _evaluate
from flawscope.flows.learning import learning_curves
from flawscope.flows.reporting import write_report
from flawscope.flows.risk import RiskSettings
from flawscope.flows.risk import risk as _risk
from flawscope.flows.risk_reporting import write_risk
from flawscope.flows.settings import TrainSettings
from flawscope.flows.train import Trained
from flawscope.flows.train import train as _train
from flawscope.methods.contract import Workshop
from flawscope.report.sheets import RiskBook
from flawscope.runtime.inspector import Inspector


def train(
    data: Path | str,
    *,
    out: Path | str,
    settings: Mapping[str, Any] | TrainSettings | None = None,
    weights_dir: Path | str | None = None,
    threads: int = 0,
    workshop: Workshop | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Teach from photographs, calibrate, and write `model.flaw`, `manifest.jsonl`, `report.html` and
    `report.json` into `out`.

    `settings` are those of `flawscope train --config`: a mapping (unknown keys are refused) or TrainSettings;
    `data` takes the place of theirs. `workshop` says what networks are trained on. Raises DataError,
    LeakError, ConfigError or MissingExtraError, each with the remedy.
    """
    if isinstance(settings, TrainSettings):
        values = replace(settings, data=Path(data))
    else:
        values = build(TrainSettings, {**(settings or {}), "data": str(data)}, where="settings")
    trained = _train(
        values,
        Path(out),
        weights_dir=None if weights_dir is None else Path(weights_dir),
        threads=threads,
        workshop=workshop,
        progress=progress,
    )
    warnings = (*trained.warnings, *trained.prepared.broken)
    curves = learning_curves(Path(out))
    write_report(training_report(trained.bundle, warnings=warnings, curves=curves), Path(out))
    return trained


def evaluate(
    model: Path | str | Inspector,
    data: Path | str,
    *,
    out: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Judge the test part of `data` with a bundle and return the report; with `out`, write it as a page too.

    `settings` are the fields of EvaluateSettings but `data`. Raises LeakError where the bundle has seen a
    test image.
    """
    values = build(EvaluateSettings, {**(settings or {}), "data": str(data)}, where="settings")
    inspector = model if isinstance(model, Inspector) else Inspector.open(model, threads=threads)
    report = _evaluate(inspector, values, progress=progress)
    if out is not None:
        levels = inspector.bundle.contents.preprocess.levels
        write_report(report, Path(out), levels=levels, mask_above=values.mask_above)
    return report


def risk(
    model: Path | str | Inspector,
    data: Path | str,
    *,
    out: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> RiskReport:
    """Rate how bad the test part of `data` is with a bundle and return the report; with `out`, write it as
    `risk.html`, `risk.json`, `risk.csv` and `risk.xlsx`.

    `settings` are the fields of RiskSettings but `data`. Raises LeakError where the bundle has seen a test
    image, DataError where coordinates lack an image.
    """
    values = build(RiskSettings, {**(settings or {}), "data": str(data)}, where="settings")
    inspector = model if isinstance(model, Inspector) else Inspector.open(model, threads=threads)
    if out is None:
        return _risk(inspector, values, progress=progress).report
    with RiskBook() as book:
        result = _risk(inspector, values, book=book, progress=progress)
        write_risk(result, Path(out), book=book, levels=inspector.bundle.contents.preprocess.levels)
    return result.report
