"""Alarms of drift, and who acknowledged them with which cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from flawscope.core.errors import ConflictError, NotFoundError
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock, iso, iso_or_none
from flawscope.store.database import Database
from flawscope.store.tables import alarms


@dataclass(frozen=True)
class AlarmRecord:
    """An alarm as it is kept."""

    seq: int
    kind: str
    product: str
    station: str
    bundle_id: str
    at_us: int
    detail: Mapping[str, Any]
    acknowledged_us: int | None
    person: str
    cause: str
    note: str

    def to_json(self) -> Json:
        """Return the documented JSON of an alarm."""
        return {
            "seq": self.seq,
            "kind": self.kind,
            "product": self.product,
            "station": self.station,
            "bundle_id": self.bundle_id,
            "at": iso(self.at_us),
            "detail": dict(self.detail),
            "acknowledged": iso_or_none(self.acknowledged_us),
            "person": self.person,
            "cause": self.cause,
            "note": self.note,
        }


class Alarms:
    """The alarms of one store."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def add(self, kind: str, *, product: str, station: str, bundle_id: str, detail: Json) -> AlarmRecord:
        """Keep a new alarm."""
        values = {
            "kind": kind,
            "product": product,
            "station": station,
            "bundle_id": bundle_id,
            "at_us": self._clock(),
            "detail": detail,
            "person": "",
            "cause": "",
            "note": "",
        }
        with self._database.writing() as connection:
            seq = connection.execute(insert(alarms).values(values)).inserted_primary_key[0]  # type: ignore[index]
            row = connection.execute(select(alarms).where(alarms.c.seq == seq)).one()
            return AlarmRecord(**row._mapping)

    def all(
        self, *, open_only: bool = False, product: str | None = None, limit: int = 100
    ) -> list[AlarmRecord]:
        """Return alarms, newest first."""
        query = select(alarms).order_by(alarms.c.seq.desc()).limit(limit)
        if open_only:
            query = query.where(alarms.c.acknowledged_us.is_(None))
        if product is not None:
            query = query.where(alarms.c.product == product)
        with self._database.reading() as connection:
            return [AlarmRecord(**row._mapping) for row in connection.execute(query)]

    def get(self, seq: int) -> AlarmRecord:
        """Return one alarm. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(alarms).where(alarms.c.seq == seq)).first()
        if row is None:
            raise NotFoundError(f"There is no alarm {seq}")
        return AlarmRecord(**row._mapping)

    def acknowledge(self, seq: int, *, person: str, cause: str, note: str) -> AlarmRecord:
        """Note that somebody has seen an alarm, with its cause. Raises NotFoundError, and ConflictError where
        somebody has done so before."""
        with self._database.writing() as connection:
            row = connection.execute(select(alarms).where(alarms.c.seq == seq)).first()
            if row is None:
                raise NotFoundError(f"There is no alarm {seq}")
            if row.acknowledged_us is not None:
                raise ConflictError(f"{row.person} has acknowledged this alarm already")
            connection.execute(
                update(alarms)
                .where(alarms.c.seq == seq)
                .values(acknowledged_us=self._clock(), person=person, cause=cause, note=note)
            )
            detail = {"cause": cause, "note": note}
            self._audit.add_within(connection, person, "alarm.acknowledge", str(seq), detail=detail)
            row = connection.execute(select(alarms).where(alarms.c.seq == seq)).one()
            return AlarmRecord(**row._mapping)
