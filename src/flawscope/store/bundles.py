"""Bundles that the station knows: which is on the line, which runs in its shadow, and what came before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select, update

from flawscope.core.errors import NotFoundError
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock
from flawscope.store.database import Database
from flawscope.store.records import Activation, BundleRecord
from flawscope.store.tables import activations, bundles

LINE, SHADOW, KEPT = "line", "shadow", "kept"


class Bundles:
    """The bundles of one store. For each product at most one is on the line."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def add(self, record: BundleRecord) -> BundleRecord:
        """Keep a bundle's record, as `kept`; one that is known already stays as it is."""
        with self._database.writing() as connection:
            row = connection.execute(select(bundles).where(bundles.c.id == record.id)).first()
            if row is not None:
                return _bundle(row)
            connection.execute(
                insert(bundles).values(
                    id=record.id,
                    sha256=record.sha256,
                    name=record.name,
                    product=record.product,
                    method=record.method,
                    parent=record.parent,
                    state=KEPT,
                    size_bytes=record.size_bytes,
                    created=record.created,
                    added_us=record.added_us,
                    added_by=record.added_by,
                )
            )
            detail = {"name": record.name, "product": record.product, "parent": record.parent}
            self._audit.add_within(connection, record.added_by, "bundle.add", record.id, detail=detail)
            return _bundle(connection.execute(select(bundles).where(bundles.c.id == record.id)).one())

    def get(self, id: str) -> BundleRecord:
        """Return one bundle. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(bundles).where(bundles.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"There is no bundle {id[:40]}")
        return _bundle(row)

    def all(self) -> list[BundleRecord]:
        """Return all bundles, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(bundles).order_by(bundles.c.added_us.desc(), bundles.c.id))
            return [_bundle(row) for row in rows]

    def in_state(self, state: str) -> list[BundleRecord]:
        """Return the bundles on the line, or in the shadow."""
        return [bundle for bundle in self.all() if bundle.state == state]

    def set_state(self, id: str, state: str, *, person: str, reason: str = "") -> BundleRecord:
        """Put a bundle on the line (the one of the same product there before is kept), into the shadow, or
        take it off. Raises NotFoundError."""
        with self._database.writing() as connection:
            row = connection.execute(select(bundles).where(bundles.c.id == id)).first()
            if row is None:
                raise NotFoundError(f"There is no bundle {id[:40]}")
            if state == LINE:
                connection.execute(
                    update(bundles)
                    .where(bundles.c.product == row.product, bundles.c.state == LINE)
                    .values(state=KEPT)
                )
            connection.execute(update(bundles).where(bundles.c.id == id).values(state=state))
            connection.execute(
                insert(activations).values(
                    product=row.product,
                    bundle_id=id,
                    state=state,
                    at_us=self._clock(),
                    person=person,
                    reason=reason,
                )
            )
            detail = {"product": row.product, "reason": reason, "before": row.state}
            self._audit.add_within(connection, person, f"bundle.{state}", id, detail=detail)
            return _bundle(connection.execute(select(bundles).where(bundles.c.id == id)).one())

    def history(self, product: str | None = None, *, limit: int = 100) -> list[Activation]:
        """Return changes of state, newest first."""
        query = select(activations).order_by(activations.c.seq.desc()).limit(limit)
        if product is not None:
            query = query.where(activations.c.product == product)
        with self._database.reading() as connection:
            return [Activation(**row._mapping) for row in connection.execute(query)]

    def before(self, product: str) -> BundleRecord | None:
        """Return the bundle to go back to: the one that was on the line before the present one."""
        now = [one for one in self.in_state(LINE) if one.product == product]
        query = (
            select(activations.c.bundle_id)
            .where(activations.c.product == product, activations.c.state == LINE)
            .order_by(activations.c.seq.desc())
        )
        with self._database.reading() as connection:
            for id in connection.execute(query).scalars():
                if not now or id != now[0].id:
                    return self.get(id)
        return None


def _bundle(row: Row[Any]) -> BundleRecord:
    return BundleRecord(**row._mapping)
