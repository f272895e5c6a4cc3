"""The engine of one machine: every cell in a process of its own, watched from outside.

The parent looks at each child's memory and time and ends one that takes too much; a child that dies leaves
its last words in `log.txt`. Nothing here rests on fork: the child is started anew and reads its cell from a
file, so it is the same on every system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flawscope
from flawscope.core.cells import Cell, Outcome, Status
from flawscope.core.files import write_text
from flawscope.flows.compare.engine import Cache, Limits
from flawscope.flows.compare.memory import resident_mb
from flawscope.flows.compare.work import read_outcome, write_outcome

LOG = "log.txt"
_LOOK_SECONDS = 0.1
_LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


@dataclass(frozen=True, eq=False)
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    place: Path
    started: float


def processes(cells: Sequence[Cell], cache: Cache, limits: Limits) -> Iterator[Outcome]:
    """Carry out cells on this machine, `limits.jobs` at a time, and yield each outcome as it comes. Those
    that still run when the caller stops listening are ended."""
    waiting = list(cells)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < max(1, limits.jobs):
                running.append(_start(waiting.pop(0), cache))
            ended = [(one, reason) for one in running if (reason := _watched(one, limits)) is not None]
            for one, reason in ended:
                running.remove(one)
                yield _finished(one, reason, cache)
            if not ended:
                time.sleep(_LOOK_SECONDS)
    finally:
        for one in running:
            _end(one)


def child_environment(threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a cell's process: these sources in reach, and every library held to so many
    threads."""
    sources = str(Path(flawscope.__file__).resolve().parents[1])
    paths = [sources, *([environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else [])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", "OPENCV_LOG_LEVEL": "SILENT"}
    return {**environment, **own, **dict.fromkeys(_LIBRARIES, str(threads))}


def _start(cell: Cell, cache: Cache) -> _Running:
    place = cache.workplace(cell)
    write_text(place / "cell.json", json.dumps(cell.to_json()) + "\n")
    command = [sys.executable, "-m", "flawscope.flows.compare.child", str(place / "cell.json"), str(place)]
    with (place / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closes when this process is gone, and ends the child
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(cell.threads, os.environ),
        )
    return _Running(cell, process, place, time.monotonic())


def _watched(one: _Running, limits: Limits) -> str | None:
    """Return None while a child may go on, an empty text where it ended by itself, else why it was ended."""
    if one.process.poll() is not None:
        return ""
    if time.monotonic() - one.started > limits.seconds:
        _end(one)
        return f"it took longer than {limits.seconds:g} s and was ended"
    if limits.memory_mb is not None:
        held = resident_mb(one.process.pid)
        if held is not None and held > limits.memory_mb:
            _end(one)
            return f"it held {held:.0f} MB of memory, more than {limits.memory_mb:.0f} MB, and was ended"
    return None


def _end(one: _Running) -> None:
    one.process.kill()
    one.process.wait()
    if one.process.stdin is not None:
        one.process.stdin.close()


def _finished(one: _Running, reason: str, cache: Cache) -> Outcome:
    """Take what a child left, or say why it left nothing, and put its folder in its place."""
    if one.process.stdin is not None:
        one.process.stdin.close()
    outcome = None if reason else read_outcome(one.place, cell=one.cell)
    if outcome is None:
        why = reason or _last_words(one)
        outcome = Outcome(one.cell, Status.FAILED, why, seconds=time.monotonic() - one.started)
        write_outcome(one.place, outcome)
    cache.keep(one.cell, one.place)
    return outcome


def _last_words(one: _Running) -> str:
    """Say how a child ended that left no outcome: its signal or exit code, and the last line of its log."""
    code = one.process.returncode
    how = f"its process was ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
    try:
        lines = (one.place / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    return f"{how}: {said[-1]}" if said else how
