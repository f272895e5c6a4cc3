"""The process of one job: `python -m flawscope.app.jobs.work FOLDER`.

It tells its progress in the folder, stops when the folder asks it to, and says at the end how it went. Should
it not stop within ten seconds, it is ended with all processes that it started.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flawscope.app.envelope import error_json
from flawscope.app.jobs.folder import JobFolder, JobProgress
from flawscope.app.jobs.kinds import JobContext, work_of
from flawscope.core.errors import FlawscopeError
from flawscope.core.progress import Stage

_LOOK_S = 0.25
_GRACE_S = 10.0
_TELL_S = 0.2


class FileProgress:
    """A progress that is told in a job's folder and in its log."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._told = 0.0
        self._note = ""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """Open a stage."""
        start = time.monotonic()
        stage = _FileStage(self, name, total, start)
        self._tell(name, 0, total, None, at_once=True)
        yield stage
        if name:
            sys.stdout.write(f"{name}: {stage.done}/{total} in {time.monotonic() - start:.1f} s\n")
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say one sentence."""
        self._note = text
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def _tell(self, name: str, done: int, total: int, left: float | None, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= _TELL_S:
            self._told = now
            self._folder.write_progress(JobProgress(name, done, total, left, self._note))


class _FileStage:
    def __init__(self, progress: FileProgress, name: str, total: int, start: float) -> None:
        self._progress = progress
        self._name = name
        self._total = total
        self._start = start
        self.done = 0

    def advance(self, steps: int = 1) -> None:
        """Count steps and say how long the rest will take."""
        self.done += steps
        took = time.monotonic() - self._start
        left = took / self.done * max(0, self._total - self.done) if self.done else None
        self._progress._tell(self._name, self.done, self._total, left)


def run(folder: JobFolder) -> int:
    """Do a job and write how it ended; return the exit code."""
    held = folder.lock()
    if held is None or folder.result() is not None:  # somebody else does it, or it is done
        return 0
    try:
        kind, arguments = folder.job()
        folder.out.mkdir(exist_ok=True)
        result = work_of(kind)(JobContext(arguments, folder.out, FileProgress(folder)))
        folder.write_result(result=result, state="done")
        return 0
    except KeyboardInterrupt:
        folder.write_result(state="cancelled")
        return 130
    except FlawscopeError as error:
        sys.stdout.write(f"{error}\n")
        folder.write_result(error=error_json(error), state="failed")
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        said = {"code": "internal", "message": f"{type(error).__name__}: {error}"}
        folder.write_result(error=said | {"expected": "", "found": "", "remedy": ""}, state="failed")
        return 1
    finally:
        held.close()


def _watch(folder: JobFolder) -> None:
    """Interrupt the work when the folder asks for it; end it where that does not help."""
    while not folder.is_cancelled:
        time.sleep(_LOOK_S)
    _thread.interrupt_main()
    time.sleep(_GRACE_S)
    if folder.result() is None:
        folder.write_result(state="cancelled")
    if os.name != "nt":
        os.killpg(os.getpgrp(), signal.SIGKILL)  # the job leads a group of its own
    os._exit(130)


def main() -> None:
    """Run the job of the folder that is named."""
    # a station that a shell began in the background hands down to ignore this: nothing could interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = JobFolder(Path(sys.argv[1]))
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    threading.Thread(target=_watch, args=(folder,), daemon=True).start()
    code = run(folder)
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
