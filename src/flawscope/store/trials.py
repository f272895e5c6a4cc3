"""Test sets, and every look at one: what two bundles say of parts that neither has seen.

The photographs of a test set lie beside the other sets; here stand their names, and who looked when with
which bundle. Whoever chooses by a test set often has its parts choose for him: each look is counted, and from
the first one on the set stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from flawscope.core.errors import ConflictError, NotFoundError
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock, iso
from flawscope.store.database import Database
from flawscope.store.tables import test_sets, trials


@dataclass(frozen=True)
class TestSetRecord:
    """A named set of labelled photographs that test and never teach."""

    id: str
    name: str
    product: str
    created_us: int
    person: str
    removed_us: int | None

    def to_json(self) -> Json:
        """Return what is known of the set without its photographs."""
        return {
            "id": self.id,
            "name": self.name,
            "product": self.product,
            "created": iso(self.created_us),
            "person": self.person,
        }


@dataclass(frozen=True)
class TrialRecord:
    """One look: two bundles on a test set."""

    id: str
    test_id: str
    bundle_id: str
    against: str
    at_us: int
    person: str
    result: Mapping[str, Any]

    def to_json(self) -> Json:
        """Return the documented JSON of a look."""
        return {
            "id": self.id,
            "test_id": self.test_id,
            "bundle_id": self.bundle_id,
            "against": self.against,
            "at": iso(self.at_us),
            "person": self.person,
            "result": dict(self.result),
        }


class Trials:
    """The test sets of one store, and the looks at them."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def add_set(self, id: str, name: str, *, product: str, person: str) -> TestSetRecord:
        """Keep a new set. Raises ConflictError where another one has its name."""
        record = TestSetRecord(id, name, product, self._clock(), person, None)
        with self._database.writing() as connection:
            same = select(test_sets.c.id).where(test_sets.c.name == name, test_sets.c.removed_us.is_(None))
            if connection.execute(same).first() is not None:
                raise ConflictError(f"There is a test set {name!r} already", remedy="Choose another name")
            connection.execute(insert(test_sets).values(**vars(record)))
            detail = {"name": name, "product": product}
            self._audit.add_within(connection, person, "test.add", id, detail=detail)
        return record

    def sets(self) -> list[TestSetRecord]:
        """Return the sets whose photographs are kept, newest first."""
        query = (
            select(test_sets)
            .where(test_sets.c.removed_us.is_(None))
            .order_by(test_sets.c.created_us.desc(), test_sets.c.id)
        )
        with self._database.reading() as connection:
            return [TestSetRecord(**row._mapping) for row in connection.execute(query)]

    def get_set(self, id: str, *, removed: bool = False) -> TestSetRecord:
        """Return one set, with `removed` one whose photographs are gone too. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(test_sets).where(test_sets.c.id == id)).first()
        if row is None or (row.removed_us is not None and not removed):
            raise NotFoundError(f"There is no test set {id[:40]}")
        return TestSetRecord(**row._mapping)

    def remove_set(self, id: str, *, who: str) -> None:
        """Note that a set's photographs are gone. Raises NotFoundError."""
        name = self.get_set(id).name
        with self._database.writing() as connection:
            connection.execute(update(test_sets).where(test_sets.c.id == id).values(removed_us=self._clock()))
            self._audit.add_within(connection, who, "test.remove", id, detail={"name": name})

    def add(
        self, id: str, *, test_id: str, bundle_id: str, against: str, person: str, result: Json
    ) -> TrialRecord:
        """Keep a look; of an `id` that is kept already the first one stands."""
        record = TrialRecord(id, test_id, bundle_id, against, self._clock(), person, result)
        with self._database.writing() as connection:
            known = connection.execute(select(trials).where(trials.c.id == id)).first()
            if known is not None:
                return TrialRecord(**known._mapping)
            connection.execute(insert(trials).values(**vars(record)))
            detail = {"trial": id, "bundle": bundle_id, "against": against}
            self._audit.add_within(connection, person, "test.look", test_id, detail=detail)
        return record

    def get(self, id: str) -> TrialRecord:
        """Return one look. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(trials).where(trials.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"There is no before and after {id[:40]}")
        return TrialRecord(**row._mapping)

    def all(
        self, *, test_id: str | None = None, bundle_id: str | None = None, limit: int = 100
    ) -> list[TrialRecord]:
        """Return looks, newest first: at a set, or with a bundle."""
        query = select(trials).order_by(trials.c.at_us.desc(), trials.c.id).limit(limit)
        if test_id is not None:
            query = query.where(trials.c.test_id == test_id)
        if bundle_id is not None:
            query = query.where(trials.c.bundle_id == bundle_id)
        with self._database.reading() as connection:
            return [TrialRecord(**row._mapping) for row in connection.execute(query)]

    def looks(self) -> dict[str, int]:
        """Return how often each set was looked at."""
        query = select(trials.c.test_id, func.count()).group_by(trials.c.test_id)
        with self._database.reading() as connection:
            return {test_id: int(number) for test_id, number in connection.execute(query)}
