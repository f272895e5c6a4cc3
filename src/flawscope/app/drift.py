"""Watches every bundle on the line for drift, in a thread of its own that reads what the line has kept.

How far it has read stands beside the state of the watch, so a station that was stopped or killed goes on
where it was: no part is left out, none is taken twice, and no alarm is raised again.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flawscope.app.active import ActiveBundles, Opened
from flawscope.core import files
from flawscope.core.errors import FlawscopeError, NotFoundError
from flawscope.core.types import Json
from flawscope.decision.drift import LOOKS, Watch
from flawscope.decision.drift_words import Alarm
from flawscope.flows.drift import begin
from flawscope.store.alarms import AlarmRecord
from flawscope.store.records import InspectionRecord
from flawscope.store.store import Store

_log = logging.getLogger(__name__)
_PAUSE_S = 1.0  # between two looks at the store
_BLOCK = 500
_ALARMS = 200  # latest ones among which one that a killed station had raised already is looked for


@dataclass
class _Watched:
    """A bundle's watch, and the last record that it has taken."""

    watch: Watch
    seq: int


class DriftWatch:
    """Watches the bundles on the line. Safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        active: ActiveBundles,
        *,
        tell: Callable[[AlarmRecord], None],
        pause_s: float = _PAUSE_S,
    ) -> None:
        """Begin to watch; `tell` hears of every alarm, `pause_s` is how long parts may gather."""
        self._store = store
        self._active = active
        self._tell = tell
        self._pause_s = pause_s
        self._folder = store.folder_of("watches")
        self._turn = threading.RLock()
        self._known: dict[str, _Watched] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._wake.set()  # what was kept before the station stopped
        self._thread.start()

    def take(self, record: InspectionRecord) -> None:
        """Hear that a part was kept."""
        self._wake.set()

    def close(self) -> None:
        """Take in what was kept, then stop."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def watch_of(self, bundle_id: str) -> Json:
        """Return what a page shows of a bundle's watch: the sentence, changes, and how many parts it has
        taken. Raises NotFoundError for a bundle that is not on the line."""
        with self._turn:
            watch = self._watched(self._opened(bundle_id)).watch
            return {
                "sentence": watch.sentence(),
                "parts": watch.parts,
                "run_length": watch.run_length,
                "odd_rate": watch.odd_rate,
                "effects": [one.to_json() for one in watch.effects()],
                "odd_scene": watch.odd_scene(),
                "going_on": [one.to_json() for one in watch.open_alarms()],
            }

    def accept(self, bundle_id: str, measure: str) -> None:
        """Take what a measure shows now as usual from now on: the change was meant. Raises NotFoundError for
        a bundle that is not on the line, DataError for a measure that is not learnt."""
        with self._turn:
            opened = self._opened(bundle_id)
            watched = self._watched(opened)
            watched.watch.accept(measure)
            self._save(opened, watched)

    def catch_up(self) -> None:
        """Take in all that was kept since the last look."""
        for opened in self._active.on_line():
            while not self._step(opened):
                pass

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            try:
                self.catch_up()
            except (FlawscopeError, OSError):
                _log.exception("drift could not be watched; what was kept is looked at again later")
            if self._stop.wait(self._pause_s):
                return

    def _step(self, opened: Opened) -> bool:
        """Take in a block of records; return whether that was all."""
        with self._turn:
            watched = self._watched(opened)
            records = self._store.inspections.since(watched.seq, bundle_id=opened.record.id, limit=_BLOCK)
            for record in records:
                looks = record.detail.get("looks") or {}
                if record.score is not None:
                    for alarm in watched.watch.add(record.score, looks):
                        self._raise(alarm, record)
                watched.seq = record.seq
            if records:
                self._save(opened, watched)
            return len(records) < _BLOCK

    def _raise(self, alarm: Alarm, record: InspectionRecord) -> None:
        known = self._store.alarms.all(limit=_ALARMS)
        if any(
            one.bundle_id == record.bundle_id
            and one.detail.get("part") == record.id
            and one.detail.get("measure") == alarm.measure
            for one in known
        ):
            return  # raised just before the station was killed
        kept = self._store.alarms.add(
            alarm.kind,
            product=record.origin.product,
            station=record.origin.station,
            bundle_id=record.bundle_id,
            detail=alarm.to_json() | {"part": record.id},
        )
        self._tell(kept)

    def _opened(self, bundle_id: str) -> Opened:
        for opened in self._active.on_line():
            if opened.record.id == bundle_id:
                return opened
        raise NotFoundError(
            f"The bundle {bundle_id[:12]} is not on the line", remedy="Only the line is watched"
        )

    def _watched(self, opened: Opened) -> _Watched:
        id = opened.record.id
        if id not in self._known:
            self._known[id] = self._load(opened)
        return self._known[id]

    def _load(self, opened: Opened) -> _Watched:
        path = self._path(opened)
        if path.is_file():
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                return _Watched(Watch.from_json(values["watch"]), int(values["seq"]))
            except (FlawscopeError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s cannot be read (%s): the watch begins anew", path, error)
        return _Watched(begin(opened.inspector.bundle), 0)

    def _save(self, opened: Opened, watched: _Watched) -> None:
        state = {"seq": watched.seq, "watch": watched.watch.to_json()}
        files.write_bytes(self._path(opened), json.dumps(state).encode())

    def _path(self, opened: Opened) -> Path:
        return self._folder / f"{opened.record.id}.json"


def looks_in(record: InspectionRecord) -> dict[str, float]:
    """Return how a kept photograph looked, by measure; empty where it was not measured."""
    known = record.detail.get("looks") or {}
    return {name: float(known[name]) for name in LOOKS if known.get(name) is not None}
