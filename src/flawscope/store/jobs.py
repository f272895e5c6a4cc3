"""Jobs as the store knows them; what they do while they run stands in their folders."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update

from flawscope.core.errors import NotFoundError
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock, iso, iso_or_none
from flawscope.store.database import Database
from flawscope.store.tables import jobs

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
OPEN = (WAITING, RUNNING)


@dataclass(frozen=True)
class JobRecord:
    """A job as it is kept."""

    id: str
    kind: str
    title: str
    arguments: Mapping[str, Any]
    state: str
    person: str
    created_us: int
    started_us: int | None
    ended_us: int | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    def to_json(self) -> Json:
        """Return the documented JSON of a job; its arguments are the station's own business."""
        return {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "person": self.person,
            "created": iso(self.created_us),
            "started": iso_or_none(self.started_us),
            "ended": iso_or_none(self.ended_us),
            "result": None if self.result is None else dict(self.result),
            "error": None if self.error is None else dict(self.error),
        }


class JobStore:
    """The jobs of one store."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def add(self, kind: str, title: str, arguments: Json, *, person: str) -> JobRecord:
        """Keep a job that waits."""
        id = str(uuid.uuid4())
        with self._database.writing() as connection:
            connection.execute(
                insert(jobs).values(
                    id=id,
                    kind=kind,
                    title=title,
                    arguments=arguments,
                    state=WAITING,
                    person=person,
                    created_us=self._clock(),
                )
            )
            self._audit.add_within(connection, person, "job.add", id, detail={"kind": kind, "title": title})
        return self.get(id)

    def get(self, id: str) -> JobRecord:
        """Return one job. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"There is no job {id[:40]}")
        return _job(row)

    def all(self, *, limit: int = 50) -> list[JobRecord]:
        """Return jobs, newest first."""
        query = select(jobs).order_by(jobs.c.created_us.desc(), jobs.c.id).limit(limit)
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def in_states(self, *states: str) -> list[JobRecord]:
        """Return jobs in these states, oldest first."""
        query = select(jobs).where(jobs.c.state.in_(states)).order_by(jobs.c.created_us, jobs.c.id)
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def start(self, id: str) -> JobRecord:
        """Note that a job runs."""
        return self._set(id, (WAITING,), state=RUNNING, started_us=self._clock())

    def end(
        self, id: str, state: str, *, result: Json | None = None, error: Json | None = None, who: str = ""
    ) -> JobRecord:
        """Note how a job ended; one that has ended stays as it is."""
        record = self._set(id, OPEN, state=state, ended_us=self._clock(), result=result, error=error)
        if record.state == state and who:
            self._audit.add(who, f"job.{state}", id)
        return record

    def _set(self, id: str, states: tuple[str, ...], **values: Any) -> JobRecord:
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(jobs.c.id == id, jobs.c.state.in_(states)).values(**values))
        return self.get(id)


def _job(row: Row[Any]) -> JobRecord:
    return JobRecord(**row._mapping)
