"""What a station does by itself once an hour: free the disk by its rules, and remove old sets."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flawscope.store.options import Options
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_FIRST_S = 60.0
_EVERY_S = 3600.0
_SET_DAYS = 30


class Upkeep:
    """A thread that keeps a store in order."""

    def __init__(self, store: Store, options: Callable[[], Options], *, who: str) -> None:
        self._store = store
        self._options = options
        self._who = who
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def once(self) -> None:
        """Do all of it now."""
        self._store.retention.run(self._options(), who=self._who, stop=self._stop.is_set)
        before = time.time() - _SET_DAYS * 86400
        for folder in self._store.folder_of("sets").iterdir():
            if folder.stat().st_mtime < before and not self._needed(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Stop after the step at hand."""
        self._stop.set()
        self._thread.join()

    def _needed(self, folder: Path) -> bool:
        """Whether an open job works on a set."""
        return any(
            str(job.arguments.get("data", "")).endswith(folder.name)
            for job in self._store.jobs.in_states("waiting", "running")
        )

    def _run(self) -> None:
        wait = _FIRST_S
        while not self._stop.wait(wait):
            wait = _EVERY_S
            try:
                self.once()
            except Exception:
                _log.exception("upkeep failed; tried again in an hour")
