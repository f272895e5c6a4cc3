"""Known parts: settled ones that are shown again, blind, among those that wait. They tell how surely a person
judges; what is said of them changes nothing about the part.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, select, update

from flawscope.core import digest
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock, iso
from flawscope.store.database import Database
from flawscope.store.records import QUEUE_NUMBERS, QueueState
from flawscope.store.reviews import Said
from flawscope.store.tables import checks, inspections, reviews

_LATELY = 50  # an own part comes again after so many others at the earliest
_CHOICE = 500  # settled parts that one is drawn from, those that were settled first


@dataclass(frozen=True)
class CheckRecord:
    """A known part that a person is shown, and what they say of it."""

    id: str
    inspection_id: str
    person: str
    expected: str  # good or bad: what settled it
    answer: str  # good, bad or skip; empty: not yet
    defect: str
    seconds: float | None
    asked_us: int
    answered_us: int | None

    def to_json(self) -> Json:
        """Return it in the form of an answer, from which it is not told apart."""
        return {
            "id": self.id,
            "inspection_id": self.inspection_id,
            "person": self.person,
            "answer": self.answer or "skip",
            "defect": self.defect or None,
            "mask_sha256": None,
            "note": "",
            "seconds": self.seconds,
            "at": iso(self.answered_us or self.asked_us),
            "undone": None if self.answered_us else iso(self.asked_us),
            "learnt_by": None,
        }


@dataclass(frozen=True)
class Sureness:
    """How often a person says of known parts what settled them."""

    person: str
    known: int
    agreed: int

    def to_json(self) -> Json:
        """Return the counts as JSON."""
        return dict(vars(self))


class Checks:
    """The known parts of one store that people were shown."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def due(self, person: str, share: float) -> CheckRecord | None:
        """Return the known part that this person is to be shown now, so that about `share` of what they judge
        is known; None where it is not time yet, or nothing is settled that they were not shown."""
        if share <= 0:
            return None
        with self._database.reading() as connection:
            open_one = self._open(connection, person)
            mine = reviews.c.person == person
            said = connection.execute(
                select(func.count()).select_from(reviews).where(mine, reviews.c.undone_us.is_(None))
            ).scalar()
            shown = connection.execute(
                select(func.count()).select_from(checks).where(checks.c.person == person)
            ).scalar()
        if open_one is not None:
            return open_one
        number, answers = int(shown or 0), int(said or 0)
        return None if number >= int(share * (answers + number)) else self._drawn(person, number)

    def answer(
        self, inspection_id: str, person: str, said: Said, *, id: str | None = None
    ) -> CheckRecord | None:
        """Keep what a person says of a known part that they were shown; None where they were not, so that it
        is an answer like others. The same `id` sent twice is kept once."""
        with self._database.writing() as connection:
            known = None if id is None else _one(connection, checks.c.id == id, checks.c.person == person)
            if known is not None:
                return known
            shown = self._open(connection, person)
            if shown is None or shown.inspection_id != inspection_id:
                return None
            kept = id or shown.id
            connection.execute(
                update(checks)
                .where(checks.c.id == shown.id)
                .values(
                    id=kept,
                    answer=said.answer,
                    defect=said.defect,
                    seconds=said.seconds,
                    answered_us=self._clock(),
                )
            )
            detail = {"answer": said.answer, "expected": shown.expected, "check": kept}
            self._audit.add_within(connection, person, "review.check", inspection_id, detail=detail)
            return _one(connection, checks.c.id == kept)

    def undo(self, id: str, person: str) -> CheckRecord | None:
        """Take what was said of a known part back: it is shown again. None where it is no such answer."""
        with self._database.writing() as connection:
            known = _one(connection, checks.c.id == id, checks.c.person == person)
            if known is None or known.answered_us is None or self._open(connection, person) is not None:
                return None
            connection.execute(
                update(checks)
                .where(checks.c.id == id)
                .values(id=str(uuid.uuid4()), answer="", answered_us=None)
            )
            self._audit.add_within(connection, person, "review.undo", known.inspection_id)
            return self._open(connection, person)

    def sureness(self) -> list[Sureness]:
        """Return how often each person agrees with what settled the known parts; skipped ones do not
        count."""
        query = (
            select(
                checks.c.person,
                func.count().label("known"),
                func.sum(case((checks.c.answer == checks.c.expected, 1), else_=0)).label("agreed"),
            )
            .where(checks.c.answer.in_(("good", "bad")))
            .group_by(checks.c.person)
            .order_by(checks.c.person)
        )
        with self._database.reading() as connection:
            return [
                Sureness(row.person, int(row.known), int(row.agreed)) for row in connection.execute(query)
            ]

    def _open(self, connection: Connection, person: str) -> CheckRecord | None:
        return _one(connection, checks.c.person == person, checks.c.answered_us.is_(None))

    def _drawn(self, person: str, number: int) -> CheckRecord | None:
        """Draw a settled part on which people agree and that this person was not shown, and keep that: one
        that others have judged or, where there is none, an own one that is long past."""
        counts = and_(reviews.c.undone_us.is_(None), reviews.c.answer != "skip")
        before = select(checks.c.inspection_id).where(checks.c.person == person)
        own = select(reviews.c.inspection_id).where(reviews.c.person == person)
        lately = own.order_by(reviews.c.seq.desc()).limit(_LATELY)
        query = (
            select(reviews.c.inspection_id, func.min(reviews.c.answer).label("answer"))
            .join(inspections, inspections.c.id == reviews.c.inspection_id)
            .where(
                counts,
                inspections.c.queue == QUEUE_NUMBERS[QueueState.SETTLED],
                inspections.c.image_bytes > 0,
                reviews.c.inspection_id.not_in(before),
            )
            .group_by(reviews.c.inspection_id)
            .having(func.count(reviews.c.answer.distinct()) == 1)
            .order_by(func.max(reviews.c.seq))
            .limit(_CHOICE)
        )
        with self._database.writing() as connection:
            if (open_one := self._open(connection, person)) is not None:  # asked for twice at once
                return open_one
            found: list[Any] = []
            for left_out in (own, lately):
                others = query.where(reviews.c.inspection_id.not_in(left_out))
                found = found or list(connection.execute(others).all())
            if not found:
                return None
            row = found[int(digest.of_value([person, number])[:12], 16) % len(found)]
            connection.execute(
                insert(checks).values(
                    id=str(uuid.uuid4()),
                    inspection_id=row.inspection_id,
                    person=person,
                    expected=row.answer,
                    answer="",
                    defect="",
                    asked_us=self._clock(),
                )
            )
            return self._open(connection, person)

    def forget(self, person: str) -> None:
        """Give up the part that a person is shown: its picture is gone."""
        with self._database.writing() as connection:
            connection.execute(
                delete(checks).where(checks.c.person == person, checks.c.answered_us.is_(None))
            )


def _one(connection: Connection, *where: Any) -> CheckRecord | None:
    row = connection.execute(select(checks).where(*where)).first()
    return None if row is None else _check(row)


def _check(row: Row[Any]) -> CheckRecord:
    return CheckRecord(**{name: value for name, value in row._mapping.items() if name != "seq"})
