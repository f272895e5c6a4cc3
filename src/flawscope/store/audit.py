"""The audit log: who did what, each entry sealed with the one before it, so that no change goes unnoticed.

An entry's digest is the sha256 of its number, time, words and the digest before it, as canonical JSON.
Whoever alters, removes or inserts an entry breaks the chain there. Entries cut off at the end leave a whole
chain; against that, `verify` takes a digest noted down earlier and looks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, text

from flawscope.core import digest
from flawscope.core.errors import StoreError
from flawscope.core.types import Json
from flawscope.store.clock import Clock
from flawscope.store.database import Database
from flawscope.store.records import AuditEntry
from flawscope.store.tables import audit

FIRST = "0" * 64
_CHAIN = 0x61756474  # the advisory lock under which PostgreSQL adds to the chain
_BLOCK = 5000


@dataclass(frozen=True)
class ChainState:
    """Where a chain that holds ends."""

    entries: int
    head: str  # the last digest; worth noting down elsewhere


class AuditLog:
    """The audit log of one store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, who: str, action: str, subject: str = "", *, detail: Json | None = None) -> AuditEntry:
        """Add an entry in a transaction of its own."""
        with self._database.writing() as connection:
            return self.add_within(connection, who, action, subject, detail=detail)

    def add_within(
        self, connection: Connection, who: str, action: str, subject: str = "", *, detail: Json | None = None
    ) -> AuditEntry:
        """Add an entry in the transaction of what it tells of: both are kept or neither is."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN})
        last = connection.execute(
            select(audit.c.seq, audit.c.digest).order_by(audit.c.seq.desc()).limit(1)
        ).first()
        seq, previous = (1, FIRST) if last is None else (last.seq + 1, last.digest)
        values: dict[str, Any] = {
            "seq": seq,
            "at_us": self._clock(),
            "who": who,
            "action": action,
            "subject": subject,
            "detail": digest.canonical_json(detail or {}),
            "previous": previous,
        }
        values["digest"] = _seal(values)
        connection.execute(insert(audit).values(values))
        return AuditEntry(**values)

    def entries(self, *, before: int | None = None, limit: int = 100, action: str = "") -> list[AuditEntry]:
        """Return entries, newest first: those before number `before`, and of one action where given."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.seq < before)
        if action:
            query = query.where(audit.c.action == action)
        with self._database.reading() as connection:
            return [AuditEntry(**row._mapping) for row in connection.execute(query)]

    def verify(self, *, head: str = "") -> ChainState:
        """Check the whole chain. Raises StoreError (`audit_chain`) that names the first entry that does not
        fit, or where `head`, a digest noted earlier, is not among them."""
        expected_seq, previous, met = 1, FIRST, not head
        for entry in self._all():
            if entry.seq != expected_seq:
                raise _broken(entry.seq, f"entry {expected_seq:,}", f"entry {entry.seq:,}")
            if entry.previous != previous:
                raise _broken(entry.seq, f"previous digest {previous[:12]}", entry.previous[:12])
            values = {name: getattr(entry, name) for name in _SEALED}
            if (sealed := _seal(values)) != entry.digest:
                raise _broken(entry.seq, f"digest {sealed[:12]} for what it says", entry.digest[:12])
            previous, expected_seq = entry.digest, expected_seq + 1
            met = met or entry.digest.startswith(head)
        if not met:
            raise StoreError(
                "The audit log has lost entries at its end",
                expected=f"an entry with the digest {head}",
                found=f"{expected_seq - 1:,} entries, none with it",
                remedy="Compare with a backup of the store",
                code="audit_chain",
            )
        return ChainState(expected_seq - 1, previous)

    def _all(self) -> Iterator[AuditEntry]:
        after = 0
        while True:
            query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(_BLOCK)
            with self._database.reading() as connection:
                block = [AuditEntry(**row._mapping) for row in connection.execute(query)]
            yield from block
            if len(block) < _BLOCK:
                return
            after = block[-1].seq


_SEALED = ("seq", "at_us", "who", "action", "subject", "detail", "previous")


def _seal(values: dict[str, Any]) -> str:
    return digest.of_value({name: values[name] for name in _SEALED})


def _broken(seq: int, expected: str, found: str) -> StoreError:
    return StoreError(
        f"Audit chain breaks at record {seq:,}",
        expected=expected,
        found=found,
        remedy="Somebody changed the log from outside. Compare with a backup of the store",
        code="audit_chain",
    )
