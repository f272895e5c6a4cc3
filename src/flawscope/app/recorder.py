"""Group commit: one thread keeps what many have judged, so that the disk is waited for once a group.

While a group is written, the next one gathers; nobody waits for a timer. An answer goes out only after its
record and image are durable.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from flawscope.core.errors import ConflictError, FlawscopeError, StoreError
from flawscope.store.records import InspectionRecord
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_GROUP = 64
_SETTLE_S = 20.0

Watcher = Callable[[InspectionRecord], None]


@dataclass(frozen=True, eq=False)
class Kept:
    """A record to keep, its image, and who waits for it."""

    record: InspectionRecord
    content: bytes
    done: Future[InspectionRecord]


class Recorder:
    """Keeps inspections in groups in a thread of its own, and settles image journals in another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: deque[Kept] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._stop_settling = threading.Event()
        self.watchers: list[Watcher] = []  # told of every kept record, after its answer is ready
        self.groups = 0
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._settler = threading.Thread(target=self._settle, name="settler", daemon=True)
        self._writer.start()
        self._settler.start()

    def put(self, items: Sequence[Kept]) -> None:
        """Hand over what is to be kept; each one's `done` tells when it is."""
        with self._wake:
            self._pending.extend(items)
            self._wake.notify()

    def close(self) -> None:
        """Keep what was handed over, then stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writer.join()
        self._stop_settling.set()
        self._settler.join()

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._pending and not self._closing:
                    self._wake.wait()
                if not self._pending:
                    return
                group = [self._pending.popleft() for _ in range(min(_GROUP, len(self._pending)))]
            self._keep(group)

    def _keep(self, group: list[Kept]) -> None:
        try:
            kept = self._store.keep([one.record for one in group], [one.content for one in group])
        except Exception as error:  # whatever it is, those who wait must hear of it
            if not isinstance(error, FlawscopeError):
                _log.exception("inspections could not be kept")
            for one in group:
                one.done.set_exception(_as_ours(error))
            return
        self.groups += 1
        for one, record in zip(group, kept, strict=True):
            if record.image_sha256 != one.record.image_sha256:
                one.done.set_exception(other_image(record.id))
            else:
                one.done.set_result(record)
        for record in kept:
            for watcher in self.watchers:
                try:
                    watcher(record)
                except Exception:
                    _log.exception("a watcher of inspections failed")

    def _settle(self) -> None:
        while not self._stop_settling.wait(_SETTLE_S):
            try:
                self._store.images.settle()
            except OSError:
                _log.exception("image journals could not be settled; they are kept and tried again")


def other_image(id: str) -> ConflictError:
    """Return the error for an id that was used for another image before."""
    return ConflictError(
        f"The id {id} was used for another image", remedy="Make a new UUID for every photograph"
    )


def _as_ours(error: Exception) -> FlawscopeError:
    if isinstance(error, FlawscopeError):
        return error
    return StoreError(
        "The inspection could not be kept",
        found=f"{type(error).__name__}: {error}",
        remedy="Check that the store's disk is not full and may be written",
    )
