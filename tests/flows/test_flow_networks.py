"""Networks through the flow: killed runs end as unbroken ones, labelled defects teach who can use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flawscope
from flawscope.core import digest
from flawscope.core.types import CalibrationMode, Role
from flawscope.methods.contract import CHECKPOINTS
from flawscope.runtime.bundle import open_bundle
from flawscope.synth.write import write_chips

pytest.importorskip("torch")
pytestmark = pytest.mark.deep

PROGRAM = """
import sys
import flawscope
from flawscope.methods.contract import Workshop

settings = {
    "method": "finetune",
    "budget": 96,
    "resplit": "70/20/10",
    "settings": {"views": 2, "patience": 0, "training": {"steps": int(sys.argv[3]), "batch": 16}},
}
flawscope.train(sys.argv[1], out=sys.argv[2], settings=settings, threads=1,
                workshop=Workshop(save_seconds=0.2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_killed_and_started_again_it_ends_as_unbroken(tmp_path: Path) -> None:
    chips = tmp_path / "chips"
    write_chips(chips, good=12, bad=24, size_wh=(128, 96), seed=5)
    steps = "1500"

    def line(out: Path) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(chips), str(out), steps]

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    running = subprocess.Popen(line(broken), env=environment)
    deadline = time.monotonic() + 240
    while not list(broken.glob(f"{CHECKPOINTS}/*.pt")):
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (broken / "model.flaw").exists()
    for out in (broken, whole):
        subprocess.run(line(out), env=environment, check=True)
    found, expected = (open_bundle(out / "model.flaw").contents for out in (broken, whole))
    assert digest.of_bytes(found.graph) == digest.of_bytes(expected.graph)
    assert found.calibration.scores.tolist() == expected.calibration.scores.tolist()
    assert not (broken / CHECKPOINTS).exists()  # a finished run leaves none
    assert (broken / "learning" / "teaching.csv").is_file()
    assert "learning-teaching" in (broken / "report.html").read_text(encoding="utf-8")


def test_labelled_defects_teach_where_a_method_can_use_them(tmp_path: Path) -> None:
    """supersimplenet gets the bad parts of FIT unless it is told to leave them out; good ones calibrate."""
    chips = tmp_path / "chips"
    write_chips(chips, good=12, bad=24, size_wh=(128, 96), seed=5)
    counts = {}
    for share in (0.5, 0.0):
        settings = {
            "method": "supersimplenet",
            "budget": 96,
            "resplit": "70/20/10",
            "settings": {"width": 32, "defect_share": share, "training": {"steps": 2, "batch": 4}},
        }
        trained = flawscope.train(chips, out=tmp_path / str(share), settings=settings, threads=1)
        counts[share] = sum(sample.is_bad for sample in trained.prepared.of(Role.FIT))
        assert all(sample.is_good for sample in trained.prepared.of(Role.CALIBRATE))
        assert trained.bundle.contents.calibration.mode is CalibrationMode.SPLIT  # a network is not refitted
    assert counts[0.5] > 10 and counts[0.0] == 0
