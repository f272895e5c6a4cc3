"""A job's folder: all that server and job tell each other, in files that are written whole or not at all.

`job.json` says what to do, `progress.json` how far it is, `log.txt` what it said, `result.json` how it ended;
a file `cancel` asks it to stop. The job holds a lock on `lock` as long as it lives, so that a server that
starts later knows whether it still runs, without guessing by a process number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flawscope.core import files
from flawscope.core.types import Json

_LOG_SHOWN = 200_000  # bytes at the end of a log


@dataclass(frozen=True)
class JobProgress:
    """How far a job is."""

    stage: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None  # of this stage
    note: str = ""

    def to_json(self) -> Json:
        """Return everything as JSON."""
        return dict(vars(self))


class JobFolder:
    """The folder of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def out(self) -> Path:
        """Where the job writes what it makes."""
        return self.path / "out"

    def write_job(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """Say what to do."""
        self._write("job.json", {"kind": kind, "arguments": dict(arguments)})

    def job(self) -> tuple[str, Json]:
        """Return what to do: kind and arguments."""
        values = self._read("job.json") or {}
        return str(values["kind"]), dict(values["arguments"])

    def write_progress(self, progress: JobProgress) -> None:
        """Say how far the job is."""
        self._write("progress.json", progress.to_json())

    def progress(self) -> JobProgress:
        """Return how far the job is."""
        return JobProgress(**(self._read("progress.json") or {}))

    def write_result(self, *, result: Json | None = None, error: Json | None = None, state: str) -> None:
        """Say how the job ended."""
        self._write("result.json", {"state": state, "result": result, "error": error})

    def result(self) -> Json | None:
        """Return how the job ended, or None where it has not said."""
        return self._read("result.json")

    def cancel(self) -> None:
        """Ask the job to stop."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "cancel").touch()

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return (self.path / "cancel").exists()

    def log(self) -> str:
        """Return the end of what the job said."""
        try:
            with (self.path / "log.txt").open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - _LOG_SHOWN))
                return stream.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def open_log(self) -> IO[bytes]:
        """Open the log to be added to."""
        self.path.mkdir(parents=True, exist_ok=True)
        return (self.path / "log.txt").open("ab")

    def lock(self) -> IO[bytes] | None:
        """Take the lock, held until the returned file is closed or the process ends; None where another
        process holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        stream = (self.path / "lock").open("ab")
        try:
            _lock(stream)
        except OSError:
            stream.close()
            return None
        return stream

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the job."""
        stream = self.lock()
        if stream is None:
            return True
        stream.close()
        return False

    def _write(self, name: str, values: Json) -> None:
        files.write_text(self.path / name, json.dumps(values))

    def _read(self, name: str) -> Json | None:
        try:
            values: Json = json.loads((self.path / name).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return values


def _lock(stream: IO[bytes]) -> None:
    """Lock a file for this process alone, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
