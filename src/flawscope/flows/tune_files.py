"""What tuning leaves on disk beside its journal: settings to train with, and every trial."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import yaml

from flawscope.core.files import write_text
from flawscope.core.types import Json
from flawscope.flows.tune import Tuned, TunePlan

SETTINGS = "tuned.yaml"
_HEAD = ("trial", "status", "value", "seconds", "reason")


def write_tuned(tuned: Tuned, plan: TunePlan, out: Path) -> Path:
    """Write `tuned.yaml`, `trials.csv` and `trials.json` into a folder; return the first one's path."""
    words = (
        f"# Trial {tuned.best.number} of {len(tuned.trials)} by flawscope tune: {plan.aim.value} "
        f"{tuned.best.value:.4f} on SELECT.\n# flawscope train --config takes this file.\n"
    )
    path = out / SETTINGS
    write_text(path, words + yaml.safe_dump(dict(tuned.settings), sort_keys=False, allow_unicode=True))
    write_text(out / "trials.csv", _as_csv(tuned))
    write_text(out / "trials.json", json.dumps(as_json(tuned, plan), indent=1, allow_nan=False) + "\n")
    return path


def as_json(tuned: Tuned, plan: TunePlan) -> Json:
    """Return what was tried and found as JSON."""
    return {
        "aim": plan.aim.value,
        "best": tuned.best.number,
        "value": tuned.best.value,
        "changed": dict(tuned.best.changed),
        "gain": tuned.gain.to_json(),
        "ended": tuned.ended,
        "settings": dict(tuned.settings),
        "given": dict(tuned.given),
        "good": int((~tuned.panel.is_bad).sum()),
        "bad": int(tuned.panel.is_bad.sum()),
        "drawn": tuned.panel.drawn,
        "notes": list(tuned.panel.notes),
        "trials": [
            {
                "trial": trial.number,
                "status": trial.status,
                "value": trial.value,
                "changed": dict(trial.changed),
                "seconds": round(trial.seconds, 3),
                "reason": trial.reason,
            }
            for trial in tuned.trials
        ],
    }


def _as_csv(tuned: Tuned) -> str:
    """Return one row a trial, with the value of every setting that is tuned."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_HEAD, *tuned.given])
    for trial in tuned.trials:
        values: list[Any] = [trial.changed.get(name, value) for name, value in tuned.given.items()]
        value = "" if trial.value is None else trial.value
        row = [trial.number, trial.status, value, round(trial.seconds, 3), trial.reason]
        writer.writerow([*row, *values])
    return stream.getvalue()
