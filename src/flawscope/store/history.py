"""What a chart or a table over many inspections needs: counts, yield by lot, Pareto of defects, trends.

Every question is a pass over an index that holds what it asks for, so a million inspections take a fraction
of a second. Nothing is counted twice and nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, case, cast, func, select

from flawscope.core.errors import UsageError
from flawscope.core.types import Json
from flawscope.store.clock import iso
from flawscope.store.database import Database
from flawscope.store.inspections import Filters
from flawscope.store.records import NOT_JUDGED, VERDICTS
from flawscope.store.tables import inspections

GROUPS = ("lot", "product", "station", "defect", "bundle_id")
_MOST_BUCKETS = 2000
_table = inspections.c


@dataclass(frozen=True)
class Counts:
    """How many inspections had which verdict."""

    ok: int = 0
    review: int = 0
    ng: int = 0
    not_judged: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.ok + other.ok,
            self.review + other.review,
            self.ng + other.ng,
            self.not_judged + other.not_judged,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.ok + self.review + self.ng + self.not_judged

    @property
    def first_pass_yield(self) -> float | None:
        """The share of judged parts that were OK at once; None where none was judged."""
        judged = self.ok + self.review + self.ng
        return self.ok / judged if judged else None

    def to_json(self) -> Json:
        """Return counts, total and yield as JSON."""
        return {
            "ok": self.ok,
            "review": self.review,
            "ng": self.ng,
            "not_judged": self.not_judged,
            "total": self.total,
            "yield": self.first_pass_yield,
        }


@dataclass(frozen=True)
class Group:
    """The counts of one lot, product, station, defect or bundle."""

    name: str
    counts: Counts
    first_us: int
    last_us: int

    def to_json(self) -> Json:
        """Return the group as JSON."""
        span = {"first": iso(self.first_us), "last": iso(self.last_us)}
        return {"name": self.name, "counts": self.counts.to_json(), **span}


@dataclass(frozen=True)
class Bucket:
    """The counts of one span of a trend."""

    from_us: int
    to_us: int
    counts: Counts

    def to_json(self) -> Json:
        """Return the span as JSON."""
        return {"from": iso(self.from_us), "to": iso(self.to_us), "counts": self.counts.to_json()}


class History:
    """Counts over the inspections of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counts(self, filters: Filters) -> Counts:
        """Return how many inspections had which verdict."""
        query = select(_table.verdict, func.count()).where(*filters.clauses()).group_by(_table.verdict)
        with self._database.reading() as connection:
            if (
                filters.risk_from is not None or filters.risk_to is not None
            ):  # grouped, it would leave the index
                row = connection.execute(select(*_SUMS).where(*filters.clauses())).one()
                return Counts() if row.ok is None else _counts(row)
            found = {verdict: int(number) for verdict, number in connection.execute(query)}
        return _counts_of(found)

    def by(self, filters: Filters, group: str, *, limit: int = 50) -> list[Group]:
        """Return the counts by lot, product, station, defect or bundle, the latest first. Raises UsageError
        for another grouping."""
        column = _table[_known(group)]
        with self._database.reading() as connection:
            names = _latest_names(connection, filters, column, limit)
            query = (
                select(column.label("name"), *_SUMS, func.min(_table.at_us).label("first_us"), _LAST)
                .where(*filters.clauses(), column.in_(names))
                .group_by(column)
            )
            rows = {row.name: row for row in connection.execute(query)}
        found = [rows[name] for name in names if name in rows]
        return [Group(row.name, _counts(row), row.first_us, row.last_us) for row in found]

    def pareto(self, filters: Filters, *, limit: int = 20) -> list[tuple[str, int]]:
        """Return the defects of parts that were REVIEW or NG with how often each was the likeliest, most
        first; empty stands for bundles that name none."""
        odd = _table.verdict.in_(("REVIEW", "NG"))
        query = (
            select(_table.defect, func.count().label("number"))
            .where(*filters.clauses(), odd)
            .group_by(_table.defect)
            .order_by(func.count().desc(), _table.defect)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(defect, int(number)) for defect, number in connection.execute(query)]

    def trend(self, filters: Filters, *, step_us: int, offset_us: int = 0) -> list[Bucket]:
        """Return the counts of spans of `step_us` that hold any inspection, oldest first; `offset_us` is the
        time zone's, so that days begin at its midnight. Raises UsageError for more than 2,000 spans."""
        if step_us <= 0:
            raise UsageError("A trend needs a step", expected="more than 0", found=str(step_us))
        span = self.span(filters)
        if span is None:
            return []
        first = (span[0] + offset_us) // step_us * step_us - offset_us
        if (span[1] - first) // step_us >= _MOST_BUCKETS:
            raise UsageError(
                f"The trend has more than {_MOST_BUCKETS:,} steps", remedy="Take a longer step or less time"
            )
        if not filters.clauses(times=False):
            return self._trend_of_all(first, span, step_us)
        # a span at a time follows the index; all in one would have the database sort every inspection
        begin, end = bindparam("begin", type_=BigInteger), bindparam("end", type_=BigInteger)
        query = select(*_SUMS).where(*filters.clauses(times=False), _table.at_us >= begin, _table.at_us < end)
        found = []
        with self._database.reading() as connection:
            for begin_us in range(first, span[1] + 1, step_us):
                bounds = {"begin": max(begin_us, span[0]), "end": min(begin_us + step_us, span[1] + 1)}
                row = connection.execute(query, bounds).one()
                if row.ok is not None:
                    found.append(Bucket(begin_us, begin_us + step_us, _counts(row)))
        return found

    def _trend_of_all(self, first_us: int, span: tuple[int, int], step_us: int) -> list[Bucket]:
        """Return the trend of all inspections within a span of time: how many of each verdict lie between two
        places of an index that holds nothing else."""
        spans = select(cast(first_us, BigInteger).label("begin_us")).cte("spans", recursive=True)
        later = spans.c.begin_us + step_us
        spans = spans.union_all(select(later).where(later <= span[1]))
        begin, end = spans.c.begin_us, spans.c.begin_us + step_us
        within = (
            _table.at_us >= case((begin < span[0], span[0]), else_=begin),
            _table.at_us < case((end > span[1] + 1, span[1] + 1), else_=end),
        )
        numbers = [
            select(func.count()).where(_table.verdict == verdict, *within).scalar_subquery().label(label)
            for verdict, label in zip(VERDICTS, _LABELS, strict=True)
        ]
        with self._database.reading() as connection:
            rows = connection.execute(select(begin, *numbers).order_by(begin)).all()
        found = [Bucket(row.begin_us, row.begin_us + step_us, _counts(row)) for row in rows]
        return [one for one in found if one.counts.total]

    def span(self, filters: Filters) -> tuple[int, int] | None:
        """Return the times of the first and the last inspection; None where there are none."""
        clauses = filters.clauses()
        first = select(_table.at_us).where(*clauses).order_by(_table.at_us).limit(1)
        last = select(_table.at_us).where(*clauses).order_by(_table.at_us.desc()).limit(1)
        with self._database.reading() as connection:
            begin, end = connection.execute(first).scalar(), connection.execute(last).scalar()
        return None if begin is None or end is None else (begin, end)

    def latest(
        self, filters: Filters, *, limit: int = 1000
    ) -> list[tuple[int, str, float | None, float | None]]:
        """Return (time, id, score, p-value) of the latest inspections, oldest first: what drift looks at."""
        query = (
            select(_table.at_us, _table.id, _table.score, _table.p_value)
            .where(*filters.clauses())
            .order_by(_table.at_us.desc(), _table.seq.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [(row.at_us, row.id, row.score, row.p_value) for row in reversed(rows)]

    def names(self, group: str, *, limit: int = 200) -> list[str]:
        """Return the values that lots, products, stations, defects or bundles have had, one look at the index
        each, however many inspections there are."""
        column = _table[_known(group)]
        first = select(func.min(column).label("name")).cte("names", recursive=True)
        following = select(func.min(column)).where(column > first.c.name).correlate(first).scalar_subquery()
        every = first.union_all(select(following).where(first.c.name.is_not(None)))
        query = select(every.c.name).where(every.c.name.is_not(None)).limit(limit)
        with self._database.reading() as connection:
            return [name for name in connection.execute(query).scalars() if name]


def _latest_names(connection: Connection, filters: Filters, column: Any, limit: int) -> list[str]:
    """Return the values of a column by their latest inspection, going back in time only as far as needed."""
    found: list[str] = []
    at_us: int | None = None
    while len(found) < limit:
        query = select(column, _table.at_us).where(*filters.clauses(), column.not_in(found))
        if at_us is not None:  # what is newer than the last find was seen already
            query = query.where(_table.at_us <= at_us)
        row = connection.execute(query.order_by(_table.at_us.desc()).limit(1)).first()
        if row is None:
            break
        found.append(row[0])
        at_us = row.at_us
    return found


def _sum_of(verdict: str, label: str) -> Any:
    return func.sum(case((_table.verdict == verdict, 1), else_=0)).label(label)


_LABELS = ("ok", "review", "ng", "not_judged")
_SUMS = tuple(_sum_of(verdict, label) for verdict, label in zip(VERDICTS, _LABELS, strict=True))
_LAST = func.max(_table.at_us).label("last_us")


def _counts(row: Any) -> Counts:
    return Counts(int(row.ok), int(row.review), int(row.ng), int(row.not_judged))


def _counts_of(found: Mapping[str, int]) -> Counts:
    return Counts(found.get("OK", 0), found.get("REVIEW", 0), found.get("NG", 0), found.get(NOT_JUDGED, 0))


def _known(group: str) -> str:
    if group not in GROUPS:
        raise UsageError(f"Nothing is counted by {group[:40]!r}", expected="one of " + ", ".join(GROUPS))
    return group
