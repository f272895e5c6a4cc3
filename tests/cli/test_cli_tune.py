"""`flawscope tune`: what it prints and writes, and that train takes what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="needs flawscope[tune]")
Run = Callable[..., Any]
QUICK = ("--threads", "1", "--set", "budget=96", "--set", "settings.candidates=2000")


def test_tune_tells_what_is_best_and_how_sure_that_is(chips: Path, tmp_path: Path, run: Run):
    out = tmp_path / "tried"
    result = run("tune", "--data", chips, "--out", out, "--budget", "3", *QUICK)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("tried: 3 trials, each taught 10 good photographs and judged by 6 others")
    assert lines[1].split() == ["trial", "auroc", "s", "what", "differs"]
    assert any(line.split()[0] == "0" and line.endswith("as given") for line in lines[2:5])
    assert lines[-1] == f"Next: flawscope train --config {out / 'tuned.yaml'}"
    assert "too few to choose by" in result.stderr and "flaws drawn" in result.stderr
    assert "may be chance" in result.stdout or "Nothing that was tried is better" in result.stdout
    again = run("tune", "--data", chips, "--out", out, "--budget", "3", *QUICK, "--json")
    assert again.exit_code == 0, again.stderr
    told = json.loads(again.stdout)
    assert told["path"] == str(out / "tuned.yaml") and told["drawn"] == 40 and len(told["trials"]) == 3
    taught = run(
        "train", "--config", out / "tuned.yaml", "--out", tmp_path / "run", "--folds", "2", "--threads", "1"
    )
    assert taught.exit_code == 0, taught.stderr


def test_what_cannot_be_tuned_is_refused(chips: Path, tmp_path: Path, run: Run):
    out = ("--out", tmp_path / "tried", "--threads", "1")
    assert run("tune", *out).exit_code == 2
    assert run("tune", "--data", chips, "--aim", "speed", *out).exit_code == 2
    assert run("tune", "--data", tmp_path / "absent", *out).exit_code == 4
    wrong = run("tune", "--data", chips, "--set", "settings.bnk=5", *out)
    assert wrong.exit_code == 2 and "Did you mean 'bank'?" in wrong.stderr
