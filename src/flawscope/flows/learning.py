"""What a training run leaves of its learning: the curves, and what checkpoints were worth."""

from __future__ import annotations

import csv
from pathlib import Path

from flawscope.methods.contract import CURVES


def learning_curves(out: Path) -> dict[str, dict[str, list[float]]]:
    """Read the learning curves beside a bundle, by `learning/NAME`: columns `step` and `loss`, and
    `select_step` with `select_loss` where SELECT was looked at."""
    found = {}
    for path in sorted((out / CURVES).glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        curve = {
            "step": [float(row["step"]) for row in rows if row.get("loss")],
            "loss": [float(row["loss"]) for row in rows if row.get("loss")],
        }
        looked = [row for row in rows if row.get("select_loss")]
        if looked:
            curve["select_step"] = [float(row["step"]) for row in looked]
            curve["select_loss"] = [float(row["select_loss"]) for row in looked]
        found[f"learning/{path.stem}"] = curve
    return found
