"""`flawscope compare --preset quick` on drawn chips: how long it takes, and what a kill half-way costs.

    python benchmarks/compare_quick.py [--work runs/compare_quick] [--jobs 2]

The chips are the demo's: 200 good ones to teach from, 60 good and 60 defective ones to test, 256x192. Two
runs into folders of their own: one from beginning to end, and one that is killed (SIGKILL) as soon as its
first cell is finished and then started again. Wall seconds, and the seconds of processor that the whole run
took, all its processes together: on a busy machine the wall tells of the others' work too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tiles import machine_line

from flawscope.synth.write import write_chips

OUTCOME = "outcome.json"


def main() -> None:
    """Run both, write the page of results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/compare_quick"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/compare_quick.md"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    chips = arguments.work / "chips"
    write_chips(chips, good=200, bad=60, size_wh=(256, 192), seed=1)
    whole = timed(command(chips, arguments.work / "whole", arguments.jobs))
    broken = arguments.work / "killed"
    call = command(chips, broken, arguments.jobs)
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start = time.monotonic()
    while not finished(broken) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lost = time.monotonic() - start
    before = finished(broken)
    again = timed(call)
    kept = {key for key, stamp in finished(broken).items() if before.get(key) == stamp}
    cells = json.loads((arguments.work / "whole" / "compare.json").read_text(encoding="utf-8"))["cells"]
    same = scores(arguments.work / "whole") == scores(broken)
    lines = [
        "# A quick comparison on drawn chips",
        "",
        f"`python benchmarks/compare_quick.py --jobs {arguments.jobs}`; the script's head says what is "
        "measured.",
        "",
        machine_line(),
        "",
        f"Load of the machine while it ran (other processes): {os.getloadavg()[0]:.1f}.",
        "",
        "| run | wall, s | processor, s |",
        "|---|---|---|",
        f"| {len(cells)} cells from beginning to end | {whole[0]:.0f} | {whole[1]:.0f} |",
        f"| killed as soon as a cell was finished | {lost:.0f} | |",
        f"| started again | {again[0]:.0f} | {again[1]:.0f} |",
        "",
        f"Finished before the kill: {len(before)}; of these carried out again: {len(before) - len(kept)}. "
        f"Scores of all test photographs in both folders: {'the same' if same else 'DIFFERENT'}.",
        "",
        "| model | AUROC | cell, s |",
        "|---|---|---|",
        *(
            f"| {cell['model']} | {cell['metrics']['auroc']['value']:.3f} | {cell['seconds']:.0f} |"
            for cell in cells
        ),
        "",
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def command(chips: Path, out: Path, jobs: int) -> list[str]:
    """Return the call."""
    options = ["--data", str(chips), "--preset", "quick", "--out", str(out), "--jobs", str(jobs)]
    return [sys.executable, "-m", "flawscope", "compare", *options]


def timed(call: list[str]) -> tuple[float, float]:
    """Run a call and return its seconds by the clock and of processor."""
    before, start = os.times(), time.monotonic()
    subprocess.run(call, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, used


def finished(out: Path) -> dict[str, int]:
    """Return the finished cells with the moment when each was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "cells").glob(f"*/{OUTCOME}")}


def scores(out: Path) -> dict[str, Any]:
    """Return every model's scores of the test photographs."""
    found = {}
    for path in (out / "cells").glob(f"*/{OUTCOME}"):
        values = json.loads(path.read_text(encoding="utf-8"))
        found[values["cell"]["model"]] = [(one["id"], one["score"]) for one in values["samples"]]
    return found


if __name__ == "__main__":
    main()
