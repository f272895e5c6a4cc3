"""What frees the disk: images go after the days that the settings give their verdict; records stay for ever.

Images stay longer where they are still needed: parts in the review queue, answers that nothing has learnt
from yet, and passed parts drawn for later calibrations.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select, update

from flawscope.core.types import Json
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock
from flawscope.store.database import Database
from flawscope.store.images import ImageFiles
from flawscope.store.options import Options
from flawscope.store.records import NOT_JUDGED
from flawscope.store.tables import heats, inspections, reviews, samples

DAY_US = 86_400_000_000
_BLOCK = 500
_table = inspections.c


@dataclass(frozen=True)
class Freed:
    """What was freed, or would be."""

    images: int
    bytes: int
    by_verdict: dict[str, int]

    def to_json(self) -> Json:
        """Return images, bytes and images by verdict as JSON."""
        return {"images": self.images, "bytes": self.bytes, "by_verdict": dict(self.by_verdict)}


@dataclass(frozen=True)
class Disk:
    """What the store takes, and what is left."""

    image_bytes: int
    images: int
    free_bytes: int
    total_bytes: int

    def to_json(self) -> Json:
        """Return the bytes as JSON."""
        return dict(vars(self))


class Retention:
    """Frees the disk of one store by its rules."""

    def __init__(
        self,
        database: Database,
        images: ImageFiles,
        audit: AuditLog,
        clock: Clock,
        *,
        turn: threading.Lock,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        """`turn` keeps images from being taken away while a record of them is being kept; `free_bytes` tells
        what is free on the disk, the images' own by default."""
        self._database = database
        self._images = images
        self._audit = audit
        self._clock = clock
        self._turn = turn
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(images.folder).free)

    def plan(self, options: Options) -> Freed:
        """Return what the rules would free now."""
        by_verdict, images, size = {}, 0, 0
        with self._database.reading() as connection:
            for verdict, clauses in self._rules(options).items():
                query = select(func.count(), func.coalesce(func.sum(_table.image_bytes), 0))
                number, total = connection.execute(query.where(*clauses)).one()
                by_verdict[verdict] = int(number)
                images, size = images + int(number), size + int(total)
        return Freed(images, size, by_verdict)

    def run(self, options: Options, *, who: str, stop: Callable[[], bool] = lambda: False) -> Freed:
        """Free what the rules say, in small steps so that the line goes on; then, where the disk is nearly
        full, the oldest images of OK parts until `keep_free_gb` is free."""
        by_verdict: dict[str, int] = {}
        size = 0
        for verdict, clauses in self._rules(options).items():
            while not stop():
                images, freed = self._step(clauses)
                by_verdict[verdict] = by_verdict.get(verdict, 0) + images
                size += freed
                if not images:
                    break
        early = 0
        while options.keep_free_gb and self._free_bytes() < options.keep_free_gb * 1e9 and not stop():
            images, freed = self._step(self._of_verdict("OK"))
            if not images:
                break
            early, size = early + images, size + freed
        if early:
            by_verdict["OK"] = by_verdict.get("OK", 0) + early
        done = Freed(sum(by_verdict.values()), size, by_verdict)
        if done.images:
            self._audit.add(who, "retention.run", detail=done.to_json() | {"early": early})
        return done

    def disk(self) -> Disk:
        """Return what images take by their records, and what is free."""
        query = select(func.count(), func.coalesce(func.sum(_table.image_bytes), 0))
        with self._database.reading() as connection:
            number, size = connection.execute(query.where(_table.image_bytes > 0)).one()
        return Disk(int(size), int(number), self._free_bytes(), shutil.disk_usage(self._images.folder).total)

    def _rules(self, options: Options) -> dict[str, list[Any]]:
        days = {
            "OK": options.keep_ok_days,
            "REVIEW": options.keep_review_days,
            "NG": options.keep_ng_days,
            NOT_JUDGED: options.keep_not_judged_days,
        }
        now = self._clock()
        return {
            verdict: [*self._of_verdict(verdict), _table.at_us < now - kept * DAY_US]
            for verdict, kept in days.items()
            if kept
        }

    def _of_verdict(self, verdict: str) -> list[Any]:
        """Return which rows of a verdict have an image that nobody needs any more."""
        waits = and_(
            reviews.c.inspection_id == _table.id, reviews.c.undone_us.is_(None), reviews.c.learnt_by == "",
            reviews.c.answer != "skip",
        )  # fmt: skip
        drawn = and_(samples.c.inspection_id == _table.id, samples.c.used_by == "")
        return [
            _table.verdict == verdict,
            _table.image_bytes > 0,
            or_(_table.queue == 0, _table.queue == 3),
            ~exists().where(waits),
            ~exists().where(drawn),
        ]

    def _step(self, clauses: list[Any]) -> tuple[int, int]:
        """Free some images, oldest first; return how many records lost theirs and the bytes that are free."""
        query = select(_table.seq, _table.id, _table.image_sha256).where(*clauses)
        with self._turn:
            with self._database.writing() as connection:
                rows = connection.execute(query.order_by(_table.at_us).limit(_BLOCK)).all()
                if not rows:
                    return 0, 0
                seqs, ids = [row.seq for row in rows], [row.id for row in rows]
                connection.execute(update(inspections).where(_table.seq.in_(seqs)).values(image_bytes=0))
                connection.execute(delete(heats).where(heats.c.inspection_id.in_(ids)))
                names = {row.image_sha256 for row in rows}
                shared = (
                    select(_table.image_sha256)
                    .where(_table.image_sha256.in_(names), _table.image_bytes > 0)
                    .distinct()
                )
                names -= set(connection.execute(shared).scalars())
            # after the commit: a file without a record is found again, a record without its file is not
            freed = sum(self._images.remove(name) for name in names)
        return len(rows), freed
