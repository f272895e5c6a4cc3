"""The station: store, line, jobs and events, opened and closed together."""

from __future__ import annotations

import getpass
import logging
import threading
import time
from pathlib import Path

from flawscope.app.drift import DriftWatch
from flawscope.app.events import Events
from flawscope.app.jobs.folder import JobProgress
from flawscope.app.jobs.scheduler import Jobs
from flawscope.app.line import Line
from flawscope.app.metrics import Metrics
from flawscope.app.security.access import Access
from flawscope.app.security.limiter import LoginLimiter
from flawscope.app.security.passwords import Passwords
from flawscope.app.security.sessions import Sessions
from flawscope.app.sets import Sets
from flawscope.app.settings import StationSettings
from flawscope.app.upkeep import Upkeep
from flawscope.core.errors import StoreError, UsageError
from flawscope.core.types import Json
from flawscope.store.jobs import JobRecord
from flawscope.store.options import Options
from flawscope.store.records import InspectionRecord
from flawscope.store.store import Store

_log = logging.getLogger(__name__)


class Station:
    """Everything behind the pages and the REST service; on `app.state.station`."""

    def __init__(self, settings: StationSettings) -> None:
        """Open the store and the line. Raises UsageError where others than this machine could come in and
        nobody is an admin yet."""
        self.settings = settings
        self.local_name = local_name()
        self.store = Store(settings.store, folder=settings.files)
        try:
            if not settings.is_local and not self.store.people.has_admin():
                raise UsageError(
                    f"The station would be open to the network at {settings.host}, and nobody is its admin",
                    expected="an admin, or localhost",
                    remedy=f"First: flawscope people add NAME --role admin --store {settings.store}",
                    code="no_admin",
                )
            self.events = Events()
            self.sessions = Sessions(self.store.signing_key())
            self.passwords = Passwords()
            limits = settings.limits
            self.logins = LoginLimiter(
                tries=limits.login_tries, wait_s=limits.login_wait_s, clock_s=time.monotonic
            )
            self.access = Access(self)
            self._options = self.store.options.get()
            self.sets = Sets(self.store.folder_of("sets"), max_pixels=limits.image_pixels)
            self.tests = Sets(self.store.folder_of("tests"), max_pixels=limits.image_pixels)
            self.line = Line(self.store, settings, sample_rate=lambda: self._options.sample_rate)
        except BaseException:
            self.store.close()
            raise
        self.started_us = self.store.clock()
        self.closing = self._closed = False
        self._turn = threading.Lock()
        self.metrics = Metrics(self)
        self.line.recorder.watchers += [self.metrics.inspection, self._tell]
        for path in settings.models:
            record = self.line.active.add(path, who=self.who)
            if record.id not in {one.record.id for one in self.line.active.on_line()}:
                self.line.active.activate(record.id, who=self.who, reason="named at the start")
        self.drift = DriftWatch(
            self.store, self.line.active, tell=lambda alarm: self.events.publish("alarm", alarm.to_json())
        )
        self.line.recorder.watchers.append(self.drift.take)
        self.upkeep = Upkeep(self.store, lambda: self._options, who=self.who)
        self.jobs = Jobs(
            self.store,
            finish=self._take_in,
            tell=self._tell_job,
            threads=max(1, settings.worker_count - 1),  # the line keeps one
        )
        self.store.audit.add(self.who, "station.start", settings.station, detail={"host": settings.host})

    @property
    def who(self) -> str:
        """Who the audit log names for what the station does by itself."""
        return f"local:{self.local_name}"

    @property
    def options(self) -> Options:
        """The settings that may change while the station runs."""
        return self._options

    def set_options(self, values: Json, *, who: str) -> Options:
        """Change settings. Raises ConfigError, and then nothing has changed."""
        self._options = self.store.options.set(values, who=who)
        self.events.publish("settings", self._options.to_json())
        return self._options

    def leave(self) -> None:
        """End the streams of events: the server is about to stop."""
        self.closing = True
        self.events.close()

    def close(self) -> None:
        """Finish what was accepted, then close everything."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
        self.leave()
        self.jobs.close()
        self.upkeep.close()
        self.line.close()
        self.drift.close()
        try:
            self.store.audit.add(self.who, "station.stop", self.settings.station)
        except StoreError:
            _log.exception("the database is out of reach; the audit log lacks this stop")
        finally:
            self.store.close()

    def _take_in(self, record: JobRecord, result: Json) -> Json:
        """Keep the bundle that a job made, or what it saw of a test set; return its result without places on
        disk."""
        told = {name: value for name, value in result.items() if name not in ("model", "trial")}
        if "trial" in result:
            arguments = record.arguments
            kept = self.store.trials.add(
                record.id,
                test_id=arguments["test"],
                bundle_id=arguments["bundle"],
                against=arguments["against"],
                person=record.person,
                result=result["trial"],
            )
            told |= {"trial_id": kept.id, "words": kept.result["words"]}
        if "model" in result:
            told["bundle_id"] = self.line.active.add(Path(result["model"]), who=record.person).id
            self.store.reviews.mark_learnt(list(record.arguments.get("reviews", ())), told["bundle_id"])
            self.store.samples.mark_used(list(record.arguments.get("samples", ())), told["bundle_id"])
        return told

    def _tell_job(self, record: JobRecord, progress: JobProgress) -> None:
        self.events.publish("job", record.to_json() | {"progress": progress.to_json()})

    def _tell(self, record: InspectionRecord) -> None:
        if self.events.listeners:
            self.events.publish("inspection", record.to_json())


def local_name() -> str:
    """Return the name of this process's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return "nobody"
