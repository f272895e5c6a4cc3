"""What people say of parts: the queue by risk, answers, disagreements, and what may be learnt from them.

Nobody who has yet to answer is told what somebody else has said. An answer that is undone stays in the record
and no longer counts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, true, update

from flawscope.core.errors import ConflictError, NotFoundError, UsageError
from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock, iso, iso_or_none
from flawscope.store.database import Database
from flawscope.store.inspections import record_of
from flawscope.store.records import QUEUE_NUMBERS, InspectionRecord, QueueState
from flawscope.store.tables import claims, inspections, reviews

ANSWERS = ("good", "bad", "skip")
_CLAIM_US = 120_000_000
_WAITING = QUEUE_NUMBERS[QueueState.WAITING]
_ANSWERED = QUEUE_NUMBERS[QueueState.ANSWERED]


@dataclass(frozen=True)
class Said:
    """What a reviewer says of a part."""

    answer: str  # good, bad or skip
    defect: str = ""
    mask_sha256: str = ""  # of a PNG among the images
    note: str = ""
    seconds: float | None = None  # looked at


@dataclass(frozen=True)
class ReviewRecord:
    """An answer as it is kept."""

    id: str
    inspection_id: str
    person: str
    said: Said
    at_us: int
    undone_us: int | None
    learnt_by: str

    def to_json(self) -> Json:
        """Return the documented JSON of an answer."""
        return {
            "id": self.id,
            "inspection_id": self.inspection_id,
            "person": self.person,
            "answer": self.said.answer,
            "defect": self.said.defect or None,
            "mask_sha256": self.said.mask_sha256 or None,
            "note": self.said.note,
            "seconds": self.said.seconds,
            "at": iso(self.at_us),
            "undone": iso_or_none(self.undone_us),
            "learnt_by": self.learnt_by or None,
        }


@dataclass(frozen=True)
class Disagreement:
    """A part on which people do not agree."""

    inspection: InspectionRecord
    answers: tuple[ReviewRecord, ...]

    def to_json(self) -> Json:
        """Return the part and what was said of it as JSON."""
        said = [one.to_json() for one in self.answers]
        return {"inspection": self.inspection.to_json(), "answers": said}


@dataclass(frozen=True)
class Agreement:
    """How often people, and model and people, agree."""

    twice: int  # parts that two or more have judged
    agreed: int  # of those, all said the same
    model_ok_bad: int  # the model said OK, a reviewer bad
    model_ng_good: int  # the model said NG, a reviewer good
    reviewed: int  # parts with an answer that is good or bad

    def to_json(self) -> Json:
        """Return the counts as JSON."""
        return dict(vars(self))


class Reviews:
    """The review queue and answers of one store."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def queue(self, person: str, *, product: str | None = None, limit: int = 20) -> list[InspectionRecord]:
        """Return what this person should look at, highest risk first: parts that nobody has answered, and
        those that wait for a second person and were answered by somebody else. What another one looks at now
        is left out."""
        query = select(inspections).where(*self._open_to(person, product))
        order = (inspections.c.risk.desc().nulls_last(), inspections.c.seq)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(*order).limit(limit))
            return [record_of(row._mapping) for row in rows]

    def waiting(self, person: str, *, product: str | None = None) -> int:
        """Return how many parts the queue has for this person."""
        query = select(func.count()).select_from(inspections).where(*self._open_to(person, product))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def claim(self, inspection_id: str, person: str) -> None:
        """Say that this person looks at a part now, for two minutes. Raises ConflictError where
        another does."""
        now = self._clock()
        with self._database.writing() as connection:
            row = connection.execute(
                select(claims).where(claims.c.inspection_id == inspection_id, claims.c.until_us > now)
            ).first()
            if row is not None and row.person != person:
                raise ConflictError(f"{row.person} has this one", code="claimed")
            connection.execute(
                delete(claims).where(or_(claims.c.inspection_id == inspection_id, claims.c.until_us <= now))
            )
            values = {"inspection_id": inspection_id, "person": person, "until_us": now + _CLAIM_US}
            connection.execute(insert(claims).values(values))

    def answer(
        self, inspection_id: str, person: str, said: Said, *, needed: int = 1, id: str | None = None
    ) -> ReviewRecord:
        """Keep an answer; an earlier one of this person for the part no longer counts. `needed` people settle
        a part. The same `id` sent twice is kept once. Raises NotFoundError, and UsageError for an answer that
        is none."""
        if said.answer not in ANSWERS:
            raise UsageError(f"{said.answer[:40]!r} is no answer", expected="good, bad or skip")
        review = ReviewRecord(id or str(uuid.uuid4()), inspection_id, person, said, self._clock(), None, "")
        with self._database.writing() as connection:
            known = connection.execute(select(reviews).where(reviews.c.id == review.id)).first()
            if known is not None:
                if (known.inspection_id, known.person) != (inspection_id, person):
                    raise ConflictError(f"The id {review.id} was used for another answer")
                return _review(known)
            _part(connection, inspection_id)
            connection.execute(
                update(reviews)
                .where(_standing(inspection_id), reviews.c.person == person)
                .values(undone_us=review.at_us)
            )
            connection.execute(
                insert(reviews).values(
                    id=review.id,
                    inspection_id=inspection_id,
                    person=person,
                    answer=said.answer,
                    defect=said.defect,
                    mask_sha256=said.mask_sha256,
                    note=said.note,
                    seconds=said.seconds,
                    at_us=review.at_us,
                    learnt_by="",
                )
            )
            connection.execute(delete(claims).where(claims.c.inspection_id == inspection_id))
            _settle(connection, inspection_id, needed)
            detail = {"answer": said.answer, "defect": said.defect, "review": review.id}
            self._audit.add_within(connection, person, "review.add", inspection_id, detail=detail)
        return review

    def undo(self, review_id: str, person: str, *, needed: int = 1) -> ReviewRecord:
        """Take an own answer back; the part waits again. Raises NotFoundError where it is not theirs or is
        undone already, ConflictError where a bundle has learnt from it."""
        now = self._clock()
        with self._database.writing() as connection:
            row = connection.execute(
                select(reviews).where(reviews.c.id == review_id, reviews.c.person == person)
            ).first()
            if row is None or row.undone_us is not None:
                raise NotFoundError(f"{person} has no answer {review_id[:40]} that could be undone")
            if row.learnt_by:
                raise ConflictError(
                    f"Bundle {row.learnt_by} has learnt from this answer",
                    remedy="Go back to the bundle before, or answer again",
                )
            connection.execute(update(reviews).where(reviews.c.id == review_id).values(undone_us=now))
            _settle(connection, row.inspection_id, needed)
            self._audit.add_within(connection, person, "review.undo", row.inspection_id)
            return _review(connection.execute(select(reviews).where(reviews.c.id == review_id)).one())

    def of(self, inspection_id: str, *, seen_by: str) -> list[ReviewRecord]:
        """Return the standing answers for a part, oldest first; whoever has yet to answer it is told none of
        the others'."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(inspections.c.queue).where(inspections.c.id == inspection_id)
            ).first()
            found = [
                _review(one)
                for one in connection.execute(
                    select(reviews).where(_standing(inspection_id)).order_by(reviews.c.seq)
                )
            ]
        blind = row is not None and row.queue in (_WAITING, _ANSWERED)
        answered = any(one.person == seen_by for one in found)
        return [] if blind and not answered else found

    def mine(self, person: str, *, limit: int = 20) -> list[ReviewRecord]:
        """Return this person's last answers, newest first, undone ones included."""
        query = select(reviews).where(reviews.c.person == person).order_by(reviews.c.seq.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_review(row) for row in connection.execute(query)]

    def disagreements(self, *, limit: int = 50) -> list[Disagreement]:
        """Return parts that one called good and another bad, latest first."""
        counted = _counting()
        query = (
            select(reviews.c.inspection_id)
            .where(counted)
            .group_by(reviews.c.inspection_id)
            .having(func.count(reviews.c.answer.distinct()) > 1)
            .order_by(func.max(reviews.c.seq).desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            ids = list(connection.execute(query).scalars())
            parts = {
                row.id: record_of(row._mapping)
                for row in connection.execute(select(inspections).where(inspections.c.id.in_(ids)))
            }
            answers: dict[str, list[ReviewRecord]] = {id: [] for id in ids}
            rows = select(reviews).where(counted, reviews.c.inspection_id.in_(ids)).order_by(reviews.c.seq)
            for row in connection.execute(rows):
                answers[row.inspection_id].append(_review(row))
        return [Disagreement(parts[id], tuple(answers[id])) for id in ids if id in parts]

    def agreement(self) -> Agreement:
        """Return how often people, and model and people, agree."""
        each = (
            select(
                reviews.c.inspection_id.label("id"),
                func.count(reviews.c.person.distinct()).label("people"),
                func.count(reviews.c.answer.distinct()).label("answers"),
                func.max(reviews.c.answer).label("last"),  # good sorts behind bad
                func.min(reviews.c.answer).label("first"),
            )
            .where(_counting())
            .group_by(reviews.c.inspection_id)
            .subquery()
        )
        joined = select(each, inspections.c.verdict).join(inspections, inspections.c.id == each.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(joined).all()
        twice = [row for row in rows if row.people > 1]
        return Agreement(
            twice=len(twice),
            agreed=sum(row.answers == 1 for row in twice),
            model_ok_bad=sum(row.verdict == "OK" and row.first == "bad" for row in rows),
            model_ng_good=sum(row.verdict == "NG" and row.last == "good" for row in rows),
            reviewed=len(rows),
        )

    def learnable(
        self, *, product: str | None = None, learnt: bool = False, limit: int = 1000
    ) -> list[tuple[ReviewRecord, InspectionRecord]]:
        """Return settled answers, good or bad, that no bundle has learnt from (with `learnt`, those too that
        one has) and whose images are kept, oldest first; parts on which people disagree are left out."""
        doubted = (
            select(reviews.c.inspection_id)
            .where(_counting())
            .group_by(reviews.c.inspection_id)
            .having(func.count(reviews.c.answer.distinct()) > 1)
        )
        query = (
            select(reviews, inspections.c.id.label("part_id"))
            .join(inspections, inspections.c.id == reviews.c.inspection_id)
            .where(
                _counting(),
                true() if learnt else reviews.c.learnt_by == "",
                inspections.c.image_bytes > 0,
                inspections.c.queue != _ANSWERED,
                reviews.c.inspection_id.not_in(doubted),
            )
            .order_by(reviews.c.seq)
            .limit(limit)
        )
        if product is not None:
            query = query.where(inspections.c.product == product)
        with self._database.reading() as connection:
            found = [_review(row) for row in connection.execute(query)]
            parts: dict[str, InspectionRecord] = {}
            ids = [one.inspection_id for one in found]
            for i in range(0, len(ids), 500):
                rows = select(inspections).where(inspections.c.id.in_(ids[i : i + 500]))
                parts |= {row.id: record_of(row._mapping) for row in connection.execute(rows)}
        return [(one, parts[one.inspection_id]) for one in found]

    def of_bundle(self, bundle_id: str, *, limit: int = 1000) -> list[tuple[ReviewRecord, InspectionRecord]]:
        """Return standing answers, good or bad, on parts that a bundle has judged, latest first: what its
        limits may be chosen by. Of a part with several answers the latest counts."""
        query = (
            select(reviews, *[column.label(f"part_{column.name}") for column in inspections.c])
            .join(inspections, inspections.c.id == reviews.c.inspection_id)
            .where(_counting(), inspections.c.bundle_id == bundle_id)
            .order_by(reviews.c.seq.desc())
            .limit(limit)
        )
        found: dict[str, tuple[ReviewRecord, InspectionRecord]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(query):
                values = row._mapping
                part = record_of({column.name: values[f"part_{column.name}"] for column in inspections.c})
                found.setdefault(part.id, (_review(row), part))
        return list(found.values())

    def defects(self, *, limit: int = 20) -> list[str]:
        """Return the defects that reviewers have named, the most frequent first."""
        query = (
            select(reviews.c.defect, func.count().label("number"))
            .where(_counting(), reviews.c.defect != "")
            .group_by(reviews.c.defect)
            .order_by(func.count().desc(), reviews.c.defect)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [row.defect for row in connection.execute(query)]

    def mark_learnt(self, review_ids: list[str], bundle_id: str) -> None:
        """Note which bundle has learnt from these answers."""
        with self._database.writing() as connection:
            for i in range(0, len(review_ids), 500):
                chosen = reviews.c.id.in_(review_ids[i : i + 500])
                connection.execute(update(reviews).where(chosen).values(learnt_by=bundle_id))

    def ask_for(self, inspection_ids: list[str], *, who: str) -> int:
        """Put parts into the queue that it would not have asked for; return how many went in."""
        with self._database.writing() as connection:
            done = connection.execute(
                update(inspections)
                .where(inspections.c.id.in_(inspection_ids), inspections.c.queue == 0)
                .values(queue=_WAITING)
            )
            if done.rowcount:
                self._audit.add_within(
                    connection, who, "review.ask", detail={"parts": sorted(inspection_ids)[:20]}
                )
        return int(done.rowcount)

    def _open_to(self, person: str, product: str | None) -> list[Any]:
        mine = exists().where(
            reviews.c.inspection_id == inspections.c.id,
            reviews.c.person == person,
            reviews.c.undone_us.is_(None),
        )
        taken = exists().where(
            claims.c.inspection_id == inspections.c.id,
            claims.c.person != person,
            claims.c.until_us > self._clock(),
        )
        found: list[Any] = [
            inspections.c.queue.in_((_WAITING, _ANSWERED)),
            inspections.c.image_bytes > 0,
            ~mine,
            ~taken,
        ]
        if product is not None:
            found.append(inspections.c.product == product)
        return found


def _standing(inspection_id: str) -> Any:
    return and_(reviews.c.inspection_id == inspection_id, reviews.c.undone_us.is_(None))


def _counting() -> Any:
    return and_(reviews.c.undone_us.is_(None), reviews.c.answer != "skip")


def _part(connection: Connection, inspection_id: str) -> Row[Any]:
    row = connection.execute(select(inspections.c.id).where(inspections.c.id == inspection_id)).first()
    if row is None:
        raise NotFoundError(f"There is no inspection {inspection_id[:40]}")
    return row


def _settle(connection: Connection, inspection_id: str, needed: int) -> None:
    """Set a part's place in the queue by its standing answers."""
    people = connection.execute(
        select(func.count(reviews.c.person.distinct())).where(_standing(inspection_id), _counting())
    ).scalar()
    count = int(people or 0)
    if not count:
        state = QueueState.WAITING
    else:
        state = QueueState.SETTLED if count >= needed else QueueState.ANSWERED
    connection.execute(
        update(inspections).where(inspections.c.id == inspection_id).values(queue=QUEUE_NUMBERS[state])
    )


def _review(row: Row[Any]) -> ReviewRecord:
    said = Said(row.answer, row.defect, row.mask_sha256, row.note, row.seconds)
    return ReviewRecord(row.id, row.inspection_id, row.person, said, row.at_us, row.undone_us, row.learnt_by)
