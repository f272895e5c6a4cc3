"""Passed parts that were drawn at random: the only honest source of further calibration parts, because nobody
picked them by their score."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from flawscope.store.database import Database
from flawscope.store.inspections import record_of
from flawscope.store.records import InspectionRecord
from flawscope.store.tables import inspections, samples


class Samples:
    """The drawn parts of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unused(self, product: str, *, limit: int = 1000) -> list[InspectionRecord]:
        """Return drawn parts of a product that no bundle was calibrated with and whose images are kept,
        oldest first."""
        query = (
            select(inspections)
            .join(samples, samples.c.inspection_id == inspections.c.id)
            .where(samples.c.product == product, samples.c.used_by == "", inspections.c.image_bytes > 0)
            .order_by(samples.c.at_us)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [record_of(row._mapping) for row in connection.execute(query)]

    def count_unused(self, product: str) -> int:
        """Return how many those are."""
        query = select(func.count()).where(samples.c.product == product, samples.c.used_by == "")
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def mark_used(self, inspection_ids: Sequence[str], bundle_id: str) -> None:
        """Note which bundle was calibrated with these parts."""
        with self._database.writing() as connection:
            for i in range(0, len(inspection_ids), 500):
                chosen = samples.c.inspection_id.in_(list(inspection_ids[i : i + 500]))
                connection.execute(update(samples).where(chosen).values(used_by=bundle_id))
