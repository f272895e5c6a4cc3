"""Who asks: a program with a token, a person with a session, or somebody at this machine; and what they may.

A route says whom it is for by the type of a parameter: `who: Operator`, `who: Engineer`, `who: Admin`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from flawscope.app.security.guard import SAFE
from flawscope.app.security.sessions import COOKIE, Session
from flawscope.core.errors import ForbiddenError, LoginError
from flawscope.store.records import RoleName

if TYPE_CHECKING:
    from flawscope.app.station import Station

_KNOWN_S = 10.0  # how long a token or a person is remembered before the store is asked again


@dataclass(frozen=True)
class Who:
    """Somebody who may do something."""

    name: str  # as the audit log records it: NAME, NAME/TOKEN or local:NAME
    role: RoleName
    session: Session | None = None

    def may(self, role: RoleName) -> bool:
        """Whether this role is theirs, or a lesser one."""
        return self.role.rank >= role.rank


def station_of(request: Request) -> Station:
    """Return the station that answers this request."""
    station: Station = request.app.state.station
    return station


class Access:
    """Finds out who asks, and remembers it for a few seconds."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._known: dict[str, tuple[float, Who]] = {}

    def forget(self) -> None:
        """Ask the store again: people or tokens have changed."""
        self._known = {}

    async def who(self, request: Request) -> Who:
        """Return who asks. Raises LoginError where nobody known does, ForbiddenError for a change that does
        not carry the session's CSRF word."""
        header = request.headers.get("authorization", "")
        if header:
            kind, _, key = header.partition(" ")
            if kind.lower() != "bearer":
                raise LoginError("This kind of login is not known", expected="Authorization: Bearer TOKEN")
            return await self._remembered(f"token {key}", lambda: self._of_token(key))
        cookie = request.cookies.get(COOKIE)
        session = None if cookie is None else self._station.sessions.read(cookie, now_s=int(time.time()))
        if session is not None:
            word = request.headers.get("x-csrf-token", "")
            if request.method not in SAFE and not self._station.sessions.csrf_fits(session, word):
                raise ForbiddenError(
                    "The page is too old, or is not of this station",
                    expected="the session's word in X-CSRF-Token",
                    remedy="Load the page again",
                    code="csrf",
                )
            if session.local:
                if self._station.settings.is_local:
                    return Who(f"local:{session.name}", RoleName.ADMIN, session)
            else:
                return await self._remembered(f"session {cookie}", lambda: self._of_session(session))
        if self._station.settings.is_local:
            return Who(f"local:{self._station.local_name}", RoleName.ADMIN)
        raise LoginError("Nobody is logged in", remedy="Log in, or send a token")

    async def _remembered(self, key: str, find: Callable[[], Who]) -> Who:
        now = time.monotonic()
        at, who = self._known.get(key, (-_KNOWN_S, None))
        if who is None or now - at >= _KNOWN_S:
            who = await run_in_threadpool(find)
            if len(self._known) > 1000:
                self._known = {}
            self._known[key] = (now, who)
        return who

    def _of_token(self, key: str) -> Who:
        token = self._station.store.people.token(key)
        if token is None:
            raise LoginError("This token is not known, or its time is over")
        person = self._station.store.people.get(token.person)
        if person is not None and person.disabled_us is not None:
            raise LoginError("The person of this token may not log in any more")
        lesser = token.role if person is None or person.role.rank >= token.role.rank else person.role
        return Who(f"{token.person}/{token.name}", lesser)

    def _of_session(self, session: Session) -> Who:
        person = self._station.store.people.get(session.name)
        if person is None or person.disabled_us is not None or person.epoch != session.epoch:
            raise LoginError("This session has ended", remedy="Log in again")
        return Who(person.name, person.role, session)


async def _operator(request: Request) -> Who:
    return await _with_role(request, RoleName.OPERATOR)


async def _engineer(request: Request) -> Who:
    return await _with_role(request, RoleName.ENGINEER)


async def _admin(request: Request) -> Who:
    return await _with_role(request, RoleName.ADMIN)


async def _with_role(request: Request, role: RoleName) -> Who:
    who = await station_of(request).access.who(request)
    if not who.may(role):
        raise ForbiddenError(
            f"This takes the role {role.value}", found=f"{who.name} is {who.role.value}", code="role"
        )
    return who


Operator = Annotated[Who, Depends(_operator)]
Engineer = Annotated[Who, Depends(_engineer)]
Admin = Annotated[Who, Depends(_admin)]
