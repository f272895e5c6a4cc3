"""SIGKILL under load, briefly; the long run is benchmarks/station_kill.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_nothing_that_was_answered_is_lost_or_doubled(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "station_kill.py"), "--kills", "3"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out.md")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "out.md").read_text()
    assert "| answered and lost | 0 |" in table and "| parts that stand there twice | 0 |" in table
