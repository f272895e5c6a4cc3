"""People who may log in, and tokens for programs. Passwords come hashed; tokens are kept as digests only."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from flawscope.core import digest
from flawscope.core.errors import ConflictError, NotFoundError, UsageError
from flawscope.store.audit import AuditLog
from flawscope.store.clock import Clock
from flawscope.store.database import Database
from flawscope.store.records import PersonRecord, RoleName, TokenRecord
from flawscope.store.tables import people, tokens

TOKEN_START = "flaw"  # what a token begins with, so that scanners of leaked keys know it
_USED_STEP_US = 60_000_000  # when a token was last used is written once a minute at most


class People:
    """The people and tokens of one store. Every change goes into the audit log with it."""

    def __init__(self, database: Database, audit: AuditLog, clock: Clock) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock

    def add(self, name: str, *, password: str, role: RoleName, who: str) -> PersonRecord:
        """Add a person with a hashed password. Raises ConflictError where the name is taken, UsageError where
        it is empty, too long or holds what is no part of a name."""
        name = name.strip()
        if not name or len(name) > 100 or not name.isprintable() or ":" in name:
            raise UsageError(f"{name[:40]!r} is no name", expected="1 to 100 printable characters, no colon")
        person = PersonRecord(name, role, self._clock(), None, 1, password)
        try:
            with self._database.writing() as connection:
                connection.execute(
                    insert(people).values(
                        name=name,
                        password=password,
                        role=role.value,
                        created_us=person.created_us,
                        disabled_us=None,
                        epoch=1,
                    )
                )
                self._audit.add_within(connection, who, "person.add", name, detail={"role": role.value})
        except IntegrityError:
            raise ConflictError(f"There is somebody with the name {name} already") from None
        return person

    def get(self, name: str) -> PersonRecord | None:
        """Return a person, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(people).where(people.c.name == name)).first()
        return None if row is None else _person(row)

    def all(self) -> list[PersonRecord]:
        """Return everybody by name."""
        with self._database.reading() as connection:
            return [_person(row) for row in connection.execute(select(people).order_by(people.c.name))]

    def has_admin(self) -> bool:
        """Whether somebody may add people."""
        query = select(func.count()).where(
            people.c.role == RoleName.ADMIN.value, people.c.disabled_us.is_(None)
        )
        with self._database.reading() as connection:
            return bool(connection.execute(query).scalar())

    def change(
        self,
        name: str,
        *,
        who: str,
        role: RoleName | None = None,
        password: str | None = None,
        disabled: bool | None = None,
    ) -> PersonRecord:
        """Change a person's role, hashed password, or whether they may log in; every session of theirs ends.
        Raises NotFoundError, and ConflictError where no admin would be left."""
        with self._database.writing() as connection:
            row = connection.execute(select(people).where(people.c.name == name)).first()
            if row is None:
                raise NotFoundError(f"There is nobody with the name {name}")
            values: dict[str, Any] = {"epoch": row.epoch + 1}
            told: dict[str, Any] = {}
            if role is not None:
                values["role"] = told["role"] = role.value
            if password is not None:
                values["password"], told["password"] = password, "changed"
            if disabled is not None:
                values["disabled_us"] = self._clock() if disabled else None
                told["disabled"] = disabled
            connection.execute(update(people).where(people.c.name == name).values(values))
            left = connection.execute(
                select(func.count()).where(
                    people.c.role == RoleName.ADMIN.value, people.c.disabled_us.is_(None)
                )
            ).scalar()
            if row.role == RoleName.ADMIN.value and not left:
                raise ConflictError("This would leave no admin", remedy="Make somebody else an admin first")
            self._audit.add_within(connection, who, "person.change", name, detail=told)
            changed = connection.execute(select(people).where(people.c.name == name)).one()
        return _person(changed)

    def add_token(
        self, name: str, *, person: str, role: RoleName, expires_us: int | None, who: str
    ) -> tuple[TokenRecord, str]:
        """Make a token and return its record and the token itself, which is shown once and kept nowhere."""
        name = name.strip()
        if not name or len(name) > 100 or not name.isprintable():
            raise UsageError(f"{name[:40]!r} is no name", expected="1 to 100 printable characters")
        id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = f"{TOKEN_START}_{id}_{secret}"
        record = TokenRecord(id, name, person, role, self._clock(), expires_us, None, None)
        with self._database.writing() as connection:
            connection.execute(
                insert(tokens).values(
                    id=id,
                    name=name,
                    person=person,
                    role=role.value,
                    digest=digest.of_bytes(key.encode()),
                    created_us=record.created_us,
                    expires_us=expires_us,
                )
            )
            detail = {"name": name, "person": person, "role": role.value}
            self._audit.add_within(connection, who, "token.add", id, detail=detail)
        return record, key

    def token(self, key: str) -> TokenRecord | None:
        """Return what a token is for, or None where it is unknown, revoked or past its time."""
        start, _, rest = key.partition("_")
        id = rest.partition("_")[0]
        if start != TOKEN_START or not id:
            return None
        with self._database.reading() as connection:
            row = connection.execute(select(tokens).where(tokens.c.id == id)).first()
        if row is None or not secrets.compare_digest(row.digest, digest.of_bytes(key.encode())):
            return None
        now = self._clock()
        if row.revoked_us is not None or (row.expires_us is not None and row.expires_us <= now):
            return None
        if row.used_us is None or row.used_us < now - _USED_STEP_US:
            with self._database.writing() as connection:
                connection.execute(update(tokens).where(tokens.c.id == id).values(used_us=now))
        return _token(row)

    def tokens(self) -> list[TokenRecord]:
        """Return all tokens, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_us.desc()))
            return [_token(row) for row in rows]

    def revoke_token(self, id: str, *, who: str) -> None:
        """End a token. Raises NotFoundError."""
        with self._database.writing() as connection:
            done = connection.execute(
                update(tokens)
                .where(tokens.c.id == id, tokens.c.revoked_us.is_(None))
                .values(revoked_us=self._clock())
            )
            if not done.rowcount:
                raise NotFoundError(f"There is no token {id} that could be revoked")
            self._audit.add_within(connection, who, "token.revoke", id)

    def forget_tokens(self, *, revoked_before_us: int) -> int:
        """Remove tokens that were revoked before a time; return how many."""
        with self._database.writing() as connection:
            done = connection.execute(delete(tokens).where(tokens.c.revoked_us < revoked_before_us))
        return int(done.rowcount)


def _person(row: Row[Any]) -> PersonRecord:
    return PersonRecord(
        name=row.name,
        role=RoleName(row.role),
        created_us=row.created_us,
        disabled_us=row.disabled_us,
        epoch=row.epoch,
        password=row.password,
    )


def _token(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        id=row.id,
        name=row.name,
        person=row.person,
        role=RoleName(row.role),
        created_us=row.created_us,
        expires_us=row.expires_us,
        revoked_us=row.revoked_us,
        used_us=row.used_us,
    )
