"""Inspections as they are kept: added in groups, found by filters, paged by cursor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, insert, or_, select
from sqlalchemy.exc import IntegrityError

from flawscope.core.errors import NotFoundError, UsageError
from flawscope.store.database import Database
from flawscope.store.records import (
    NOT_JUDGED,
    QUEUE_NUMBERS,
    QUEUE_STATES,
    InspectionRecord,
    Origin,
)
from flawscope.store.tables import heats, inspections, reviews, samples

_BLOCK = 500


@dataclass(frozen=True)
class Filters:
    """Which inspections are meant; empty and None mean all. `defect` is the likeliest class, or what a
    reviewer named."""

    verdicts: tuple[str, ...] = ()  # OK, REVIEW, NG, NOT JUDGED
    product: str | None = None
    lot: str | None = None
    part: str | None = None
    station: str | None = None
    bundle_id: str | None = None
    defect: str | None = None
    from_us: int | None = None
    to_us: int | None = None  # exclusive
    risk_from: float | None = None
    risk_to: float | None = None  # inclusive
    score_from: float | None = None
    score_to: float | None = None  # exclusive
    image_kept: bool | None = None
    disagreed: bool = False  # model against reviewer: OK that was bad, NG that was good

    def clauses(self, *, times: bool = True) -> list[ColumnElement[bool]]:
        """Return the conditions on `inspections`, to be joined by AND; without those on time where `times` is
        False. Raises UsageError for a time that ends before it begins."""
        if self.from_us is not None and self.to_us is not None and self.from_us > self.to_us:
            raise UsageError("From is after To", expected="a time span that begins before it ends")
        table = inspections.c
        found: list[ColumnElement[bool]] = []
        if len(self.verdicts) == 1:
            found.append(table.verdict == self.verdicts[0])
        elif self.verdicts:
            found.append(table.verdict.in_(self.verdicts))
        for column, value in (
            (table.product, self.product),
            (table.lot, self.lot),
            (table.part, self.part),
            (table.station, self.station),
            (table.bundle_id, self.bundle_id),
            (table.defect, self.defect),
        ):
            if value is not None:
                found.append(column == value)
        if times and self.from_us is not None:
            found.append(table.at_us >= self.from_us)
        if times and self.to_us is not None:
            found.append(table.at_us < self.to_us)
        if self.risk_from is not None:
            found.append(table.risk >= self.risk_from)
        if self.risk_to is not None:
            found.append(table.risk <= self.risk_to)
        if self.score_from is not None:
            found.append(table.score >= self.score_from)
        if self.score_to is not None:
            found.append(table.score < self.score_to)
        if self.image_kept is not None:
            found.append(table.image_bytes > 0 if self.image_kept else table.image_bytes == 0)
        if self.disagreed:
            found.append(_disagreed())
        return found


def _disagreed() -> ColumnElement[bool]:
    standing = and_(reviews.c.inspection_id == inspections.c.id, reviews.c.undone_us.is_(None))
    said_bad = exists().where(standing, reviews.c.answer == "bad")
    said_good = exists().where(standing, reviews.c.answer == "good")
    verdict = inspections.c.verdict
    return or_(and_(verdict == "OK", said_bad), and_(verdict == "NG", said_good))


@dataclass(frozen=True)
class Page:
    """Some inspections, newest first, and where the next ones begin (None: there are none)."""

    records: tuple[InspectionRecord, ...]
    after: str | None


class Inspections:
    """The inspections of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_all(self, records: Sequence[InspectionRecord]) -> list[InspectionRecord]:
        """Keep records in one transaction, durable when this returns. Of an id that is kept already the first
        record stands, and is returned in place of the new one."""
        try:
            with self._database.writing() as connection:
                _insert(connection, records)
            return list(records)
        except IntegrityError:  # an id is there already, or twice among these
            return [self._add_or_get(record) for record in records]

    def get(self, id: str) -> InspectionRecord:
        """Return one inspection. Raises NotFoundError."""
        found = self.find_one(id)
        if found is None:
            raise NotFoundError(f"There is no inspection {id}")
        return found

    def find_one(self, id: str) -> InspectionRecord | None:
        """Return one inspection, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(inspections).where(inspections.c.id == id)).first()
        return None if row is None else record_of(row._mapping)

    def get_many(self, ids: Sequence[str]) -> list[InspectionRecord]:
        """Return those of some inspections that are there, in the order asked for."""
        found: dict[str, InspectionRecord] = {}
        with self._database.reading() as connection:
            for i in range(0, len(ids), _BLOCK):
                query = select(inspections).where(inspections.c.id.in_(ids[i : i + _BLOCK]))
                found |= {row.id: record_of(row._mapping) for row in connection.execute(query)}
        return [found[id] for id in ids if id in found]

    def heat(self, id: str) -> bytes | None:
        """Return the heat map as an 8-bit grey PNG (0 to 255 is 0 to 2 pixel limits) laid over the whole
        image, or None where none is kept."""
        with self._database.reading() as connection:
            row = connection.execute(select(heats.c.png).where(heats.c.inspection_id == id)).first()
        return None if row is None else bytes(row.png)

    def page(self, filters: Filters, *, after: str | None = None, limit: int = 50) -> Page:
        """Return inspections, newest first, from the cursor `after` of the page before. Raises UsageError for
        a cursor that is none."""
        query = self._query(filters)
        if after is not None:
            at_us, seq = read_cursor(after)
            table = inspections.c
            query = query.where(or_(table.at_us < at_us, and_(table.at_us == at_us, table.seq < seq)))
            query = query.where(table.at_us <= at_us)  # says the same again, in a way that uses the index
        with self._database.reading() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
        records = tuple(record_of(row._mapping) for row in rows[:limit])
        return Page(records, write_cursor(records[-1]) if len(rows) > limit else None)

    def all(self, filters: Filters, *, limit: int | None = None) -> Iterator[InspectionRecord]:
        """Yield inspections, newest first, at most `limit` of them, in bounded memory."""
        after, given = None, 0
        while True:
            size = _BLOCK if limit is None else min(_BLOCK, limit - given)
            if size <= 0:
                return
            page = self.page(filters, after=after, limit=size)
            yield from page.records
            given += len(page.records)
            after = page.after
            if after is None:
                return

    def since(self, seq: int, *, bundle_id: str, limit: int) -> list[InspectionRecord]:
        """Return what a bundle has judged after record number `seq`, in the order in which it was kept."""
        query = (
            select(inspections)
            .where(inspections.c.seq > seq, inspections.c.bundle_id == bundle_id)
            .order_by(inspections.c.seq)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [record_of(row._mapping) for row in connection.execute(query)]

    def neighbours(self, record: InspectionRecord, filters: Filters) -> tuple[str | None, str | None]:
        """Return the ids of the next newer and the next older inspection among the filtered ones."""
        table = inspections.c
        at_us, seq = record.at_us, record.seq
        newer = or_(table.at_us > at_us, and_(table.at_us == at_us, table.seq > seq))
        older = or_(table.at_us < at_us, and_(table.at_us == at_us, table.seq < seq))
        base = select(table.id).where(*filters.clauses()).limit(1)
        with self._database.reading() as connection:
            above = connection.execute(base.where(newer).order_by(table.at_us, table.seq)).scalar()
            below = connection.execute(
                base.where(older).order_by(table.at_us.desc(), table.seq.desc())
            ).scalar()
        return above, below

    def _query(self, filters: Filters) -> Select[Any]:
        table = inspections.c
        return select(inspections).where(*filters.clauses()).order_by(table.at_us.desc(), table.seq.desc())

    def _add_or_get(self, record: InspectionRecord) -> InspectionRecord:
        try:
            with self._database.writing() as connection:
                _insert(connection, [record])
            return record
        except IntegrityError:
            return self.get(record.id)


def _insert(connection: Connection, records: Sequence[InspectionRecord]) -> None:
    if not records:
        return
    connection.execute(insert(inspections), [_values(record) for record in records])
    maps = [
        {"inspection_id": record.id, "png": record.heat_png}
        for record in records
        if record.heat_png is not None
    ]
    if maps:
        connection.execute(insert(heats), maps)
    drawn = [record for record in records if record.sampled]
    if drawn:
        connection.execute(insert(samples), [_sample(record) for record in drawn])


def _sample(record: InspectionRecord) -> dict[str, Any]:
    return {
        "inspection_id": record.id,
        "product": record.origin.product,
        "bundle_id": record.bundle_id,
        "at_us": record.at_us,
        "used_by": "",
    }


def _values(record: InspectionRecord) -> dict[str, Any]:
    origin = record.origin
    return {
        "id": record.id,
        "at_us": record.at_us,
        "station": origin.station,
        "product": origin.product,
        "lot": origin.lot,
        "part": origin.part,
        "bundle_id": record.bundle_id,
        "verdict": record.verdict,
        "score": record.score,
        "p_value": record.p_value,
        "risk": record.risk,
        "defect": record.defect,
        "error_code": record.error_code,
        "image_sha256": record.image_sha256,
        "image_bytes": record.image_bytes,
        "queue": QUEUE_NUMBERS[record.queue],
        "person": origin.person,
        "detail": {**record.detail, "name": origin.name},
    }


def record_of(row: Mapping[Any, Any]) -> InspectionRecord:
    """Make a record of a row of `inspections`."""
    detail = dict(row["detail"])
    origin = Origin(
        station=row["station"],
        product=row["product"],
        lot=row["lot"],
        part=row["part"],
        name=detail.pop("name", ""),
        person=row["person"],
    )
    return InspectionRecord(
        id=row["id"],
        at_us=row["at_us"],
        origin=origin,
        bundle_id=row["bundle_id"],
        verdict=row["verdict"],
        score=row["score"],
        p_value=row["p_value"],
        risk=row["risk"],
        defect=row["defect"],
        error_code=row["error_code"],
        image_sha256=row["image_sha256"],
        image_bytes=row["image_bytes"],
        queue=QUEUE_STATES[row["queue"]],
        detail=detail,
        seq=row["seq"],
    )


def write_cursor(record: InspectionRecord) -> str:
    """Return the cursor behind which the next page begins."""
    return f"{record.at_us:x}-{record.seq:x}"


def read_cursor(text: str) -> tuple[int, int]:
    """Read what `write_cursor` wrote. Raises UsageError for anything else."""
    first, _, second = text.partition("-")
    try:
        at_us, seq = int(first, 16), int(second, 16)
    except ValueError:
        at_us = seq = -1
    if not (0 <= at_us < 1 << 62 and 0 <= seq < 1 << 62):
        raise UsageError(f"{text[:40]!r} is no cursor", expected="what `after` of the page before said")
    return at_us, seq


def verdict_filter(words: Sequence[str]) -> tuple[str, ...]:
    """Return the verdicts that words name, in any case; NOT_JUDGED as well. Raises UsageError."""
    known = {"OK": "OK", "REVIEW": "REVIEW", "NG": "NG", "NOT JUDGED": NOT_JUDGED, "NOT_JUDGED": NOT_JUDGED}
    found = []
    for word in words:
        if word.upper() not in known:
            raise UsageError(f"{word[:40]!r} is no verdict", expected="OK, REVIEW, NG or NOT_JUDGED")
        found.append(known[word.upper()])
    return tuple(dict.fromkeys(found))
