"""Starts jobs one after the other, follows them, and takes in what they made.

A job is a process of its own in a session of its own: it goes on when the server stops, and the next server
finds it by its folder.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from flawscope.app.jobs.folder import JobFolder, JobProgress
from flawscope.app.jobs.kinds import work_of
from flawscope.core.errors import ConflictError, FlawscopeError
from flawscope.core.types import Json
from flawscope.store.jobs import CANCELLED, DONE, FAILED, OPEN, RUNNING, WAITING, JobRecord
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_LOOK_S = 0.5
_START_S = 60.0  # a job that does not take its lock within this time has not come up
_NO_WORDS = {"expected": "", "found": "", "remedy": ""}

Finish = Callable[[JobRecord, Json], Json]  # takes in what a job made, and returns its result for people
Tell = Callable[[JobRecord, JobProgress], None]


class Jobs:
    """The jobs of a station: one runs, the others wait."""

    def __init__(self, store: Store, *, finish: Finish, tell: Tell, threads: int = 1) -> None:
        """Find what the last server left running, and go on. `finish` takes in what a job made; `tell` hears
        of every step; `threads` is what numerical libraries in a job may use."""
        self._store = store
        self._finish = finish
        self._tell = tell
        self._threads = threads
        self._root = store.folder_of("jobs")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started_looks: dict[str, int] = {}
        self._said: dict[str, JobProgress] = {}
        self._wake = threading.Event()
        self._closing = False
        self._turn = threading.RLock()
        self._thread = threading.Thread(target=self._follow, name="jobs", daemon=True)
        self._thread.start()

    def add(self, kind: str, title: str, arguments: Json, *, who: str) -> JobRecord:
        """Add a job that waits for its turn. Raises UsageError for a kind that there is not."""
        work_of(kind)
        record = self._store.jobs.add(kind, title[:200], arguments, person=who)
        self.folder(record.id).write_job(kind, arguments)
        self._wake.set()
        return record

    def folder(self, id: str) -> JobFolder:
        """Return the folder of a known job."""
        return JobFolder(self._root / self._store.jobs.get(id).id)

    def progress(self, id: str) -> JobProgress:
        """Return how far a job is."""
        return self.folder(id).progress()

    def log(self, id: str) -> str:
        """Return the end of what a job said."""
        return self.folder(id).log()

    def cancel(self, id: str, *, who: str) -> JobRecord:
        """Have a job stop; one that waits is taken out. Raises ConflictError where it has ended already."""
        with self._turn:
            record = self._store.jobs.get(id)
            if record.state not in OPEN:
                raise ConflictError(f"The job has ended already: {record.state}")
            self.folder(id).cancel()
            self._store.audit.add(who, "job.cancel", id)
            if record.state == WAITING:
                record = self._store.jobs.end(id, CANCELLED)
                self._tell(record, self.progress(id))
        self._wake.set()
        return record

    def before(self, id: str) -> list[JobRecord]:
        """Return the open jobs whose turn comes before this one's."""
        waiting = self._store.jobs.in_states(*OPEN)
        ids = [one.id for one in waiting]
        return waiting[: ids.index(id)] if id in ids else []

    def forget(self, id: str) -> None:
        """Remove what an ended job left on disk; its record stays."""
        if self._store.jobs.get(id).state not in OPEN:
            shutil.rmtree(self.folder(id).path, ignore_errors=True)

    def close(self) -> None:
        """Stop following. Jobs that run go on."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closing:
            try:
                with self._turn:
                    running = self._look()
                    if not running:
                        running = self._start_next()
            except Exception:
                _log.exception("jobs could not be followed; tried again")
                running = True
            self._wake.wait(_LOOK_S if running else None)
            self._wake.clear()

    def _look(self) -> bool:
        """Take note of what the running jobs say; return whether one still runs."""
        alive = False
        for record in self._store.jobs.in_states(RUNNING):
            folder = JobFolder(self._root / record.id)
            progress = folder.progress()
            if progress != self._said.get(record.id):
                self._said[record.id] = progress
                self._tell(record, progress)
            said = folder.result()
            if said is None and (folder.is_alive or self._coming_up(record.id)):
                alive = True
                continue
            self._end(record, folder, said or folder.result())
        return alive

    def _coming_up(self, id: str) -> bool:
        """Whether a process was started that has not taken its lock yet."""
        process = self._processes.get(id)
        if process is None or process.poll() is not None:
            return False
        self._started_looks[id] = self._started_looks.get(id, 0) + 1
        return self._started_looks[id] * _LOOK_S < _START_S

    def _end(self, record: JobRecord, folder: JobFolder, said: Json | None) -> None:
        process = self._processes.pop(record.id, None)
        if process is not None:
            process.wait()
        self._said.pop(record.id, None)
        self._started_looks.pop(record.id, None)
        if said is None:
            state, result = (CANCELLED if folder.is_cancelled else FAILED), None
            error: Json | None = {"code": "stopped", "message": "The job ended without a word", **_NO_WORDS}
        else:
            state, result, error = said["state"], said["result"], said["error"]
        if state == DONE:
            try:
                result = self._finish(record, result or {})
            except FlawscopeError as failure:
                state, result = FAILED, None
                error = {"code": failure.code, "message": str(failure), **_NO_WORDS}
        ended = self._store.jobs.end(
            record.id,
            state,
            result=result,
            error=None if state in (DONE, CANCELLED) else error,
            who=record.person,
        )
        self._tell(ended, folder.progress())

    def _start_next(self) -> bool:
        for record in self._store.jobs.in_states(WAITING):
            folder = JobFolder(self._root / record.id)
            folder.write_job(record.kind, record.arguments)
            started = self._store.jobs.start(record.id)
            if started.state != RUNNING:
                continue
            threads = str(self._threads)
            environment = os.environ | {
                "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1",
                "PYTHONUTF8": "1",
            }  # fmt: skip
            with folder.open_log() as log:
                self._processes[record.id] = subprocess.Popen(
                    [sys.executable, "-m", "flawscope.app.jobs.work", str(folder.path.resolve())],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=environment,
                    cwd=Path.cwd(),
                )
            self._tell(started, JobProgress())
            return True
        return False
