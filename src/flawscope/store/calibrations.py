"""Versions of limits: who moved them, when, why, from which bundle to which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select

from flawscope.core.types import Json
from flawscope.store.clock import Clock, iso
from flawscope.store.database import Database
from flawscope.store.tables import calibrations


@dataclass(frozen=True)
class CalibrationRecord:
    """One version of a product's limits."""

    seq: int
    bundle_id: str  # with these limits
    parent: str  # before them
    product: str
    version: int  # counted for each product
    limits: Mapping[str, Any]
    person: str
    reason: str
    at_us: int

    def to_json(self) -> Json:
        """Return the documented JSON of a version."""
        return {
            "bundle_id": self.bundle_id,
            "parent": self.parent or None,
            "product": self.product,
            "version": self.version,
            "limits": dict(self.limits),
            "person": self.person,
            "reason": self.reason,
            "at": iso(self.at_us),
        }


class Calibrations:
    """The versions of limits of one store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self, bundle_id: str, *, parent: str, product: str, limits: Json, person: str, reason: str
    ) -> CalibrationRecord:
        """Keep the next version of a product's limits."""
        with self._database.writing() as connection:
            last = connection.execute(
                select(func.max(calibrations.c.version)).where(calibrations.c.product == product)
            ).scalar()
            connection.execute(
                insert(calibrations).values(
                    bundle_id=bundle_id,
                    parent=parent,
                    product=product,
                    version=int(last or 0) + 1,
                    limits=limits,
                    person=person,
                    reason=reason,
                    at_us=self._clock(),
                )
            )
        return self.all(product, limit=1)[0]

    def all(self, product: str, *, limit: int = 100) -> list[CalibrationRecord]:
        """Return the versions of a product's limits, newest first."""
        query = (
            select(calibrations)
            .where(calibrations.c.product == product)
            .order_by(calibrations.c.version.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [CalibrationRecord(**row._mapping) for row in connection.execute(query)]
