"""What bundles in the shadow would have said, beside what the line said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, insert, select

from flawscope.core.types import Json
from flawscope.store.clock import iso
from flawscope.store.database import Database
from flawscope.store.tables import shadows


@dataclass(frozen=True)
class ShadowRecord:
    """One verdict of a bundle in the shadow."""

    inspection_id: str
    bundle_id: str
    verdict: str
    line_verdict: str
    score: float | None
    p_value: float | None
    defect: str
    at_us: int
    seq: int = 0

    def to_json(self) -> Json:
        """Return the documented JSON of a shadow's verdict."""
        return {
            "inspection_id": self.inspection_id,
            "bundle_id": self.bundle_id,
            "verdict": self.verdict,
            "line_verdict": self.line_verdict,
            "score": self.score,
            "p_value": self.p_value,
            "defect": self.defect or None,
            "at": iso(self.at_us),
        }


class Shadows:
    """The shadows' verdicts of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_all(self, records: Sequence[ShadowRecord]) -> None:
        """Keep verdicts; one that is there already stays."""
        known = {(one.inspection_id, one.bundle_id) for one in records}
        with self._database.writing() as connection:
            ids = [one.inspection_id for one in records]
            rows = connection.execute(
                select(shadows.c.inspection_id, shadows.c.bundle_id).where(shadows.c.inspection_id.in_(ids))
            )
            known -= {(row.inspection_id, row.bundle_id) for row in rows}
            values = []
            for one in records:
                if (one.inspection_id, one.bundle_id) in known:
                    known.discard((one.inspection_id, one.bundle_id))
                    values.append({key: value for key, value in vars(one).items() if key != "seq"})
            if values:
                connection.execute(insert(shadows), values)

    def table(self, bundle_id: str) -> dict[tuple[str, str], int]:
        """Return how often (the line said, the shadow said) happened."""
        query = (
            select(shadows.c.line_verdict, shadows.c.verdict, func.count())
            .where(shadows.c.bundle_id == bundle_id)
            .group_by(shadows.c.line_verdict, shadows.c.verdict)
        )
        with self._database.reading() as connection:
            return {(line, own): int(number) for line, own, number in connection.execute(query)}

    def disagreements(
        self, bundle_id: str, *, limit: int = 50, before: int | None = None
    ) -> list[ShadowRecord]:
        """Return verdicts that differ from the line's, latest first, those before number `before`."""
        query = (
            select(shadows)
            .where(shadows.c.bundle_id == bundle_id, shadows.c.verdict != shadows.c.line_verdict)
            .order_by(shadows.c.seq.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(shadows.c.seq < before)
        with self._database.reading() as connection:
            return [ShadowRecord(**row._mapping) for row in connection.execute(query)]
