"""What the command line's tests share: a small set of drawn chips, a bundle taught from it, and runners."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flawscope.cli.app import app
from flawscope.synth.write import write_chips

SOURCES = Path(__file__).resolve().parents[2] / "src"
QUICK = ("--budget", "96", "--folds", "2", "--threads", "1", "--set", "settings.bank=64")


@dataclass(frozen=True)
class Training:
    """The folder that a training run wrote, and what it printed."""

    out: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 good parts to teach from, 4 good and 4 bad ones to test, 128x96."""
    folder = tmp_path_factory.mktemp("set") / "chips"
    write_chips(folder, good=16, bad=4, size_wh=(128, 96), seed=1)
    return folder


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run a command inside this process; returns typer's result with `exit_code`, `stdout` and `stderr`."""

    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return this process's environment, with the sources in reach and one thread a library."""
    return os.environ | {"PYTHONPATH": str(SOURCES), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def start(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a process of its own, its streams piped."""

    def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flawscope", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120
        )

    return invoke


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory, chips: Path, run: Callable[..., Any]) -> Training:
    """One run of `flawscope train`, with what it printed."""
    out = tmp_path_factory.mktemp("taught") / "run"
    result = run("train", "--data", chips, "--out", out, *QUICK)
    assert result.exit_code == 0, result.stderr
    return Training(out, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def model(training: Training) -> Path:
    """The bundle of `training`."""
    return training.out / "model.flaw"
