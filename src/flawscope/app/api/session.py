"""Logging in and out: `/api/session`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from flawscope.app.api.models import Model, Ok, SessionOut, failures
from flawscope.app.envelope import answer
from flawscope.app.security.access import Operator, Who, station_of
from flawscope.app.security.sessions import COOKIE, LASTS_S
from flawscope.app.station import Station
from flawscope.core.errors import LoginError, RequestError
from flawscope.store.records import RoleName

router = APIRouter(tags=["session"])


class Login(Model):
    """A name and, but on localhost, a password."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    password: Annotated[str, Field(max_length=2000)] = ""


@router.get("/session", summary="Who am I?", response_model=Ok[SessionOut], responses=failures())
async def session(request: Request, who: Operator) -> Response:
    """Return who asks, and the word that changes have to carry."""
    return answer(session_json(station_of(request), who))


@router.post("/session", summary="Log in", response_model=Ok[SessionOut], responses=failures(429))
async def log_in(request: Request, login: Login) -> Response:
    """Begin a session in a cookie. On localhost a name is enough: the audit log then has local:NAME."""
    station = station_of(request)
    address = request.client.host if request.client else ""
    who, cookie = await run_in_threadpool(begin_session, station, login.name, login.password, address)
    response = answer(session_json(station, who))
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LASTS_S,
        httponly=True,
        samesite="strict",
        secure=station.settings.secure_cookies,
        path="/",
    )
    return response


@router.delete("/session", summary="Log out", status_code=204, responses=failures())
async def log_out(request: Request, who: Operator) -> Response:
    """End this session in this browser."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def begin_session(station: Station, name: str, password: str, address: str) -> tuple[Who, str]:
    """Return who logs in and the cookie's value. Raises LoginError where name and password do not fit,
    TooOftenError where that happened too often."""
    name = name.strip()
    now_s = int(time.time())
    if station.settings.is_local and not password:
        if not name or not name.isprintable() or ":" in name or "/" in name:
            raise RequestError("This is no name", expected="printable characters, no colon, no slash")
        made, cookie = station.sessions.begin(name, local=True, epoch=0, now_s=now_s)
        return Who(f"local:{name}", RoleName.ADMIN, made), cookie
    station.logins.check(name, address)
    person = station.store.people.get(name)
    known = None if person is None or person.disabled_us is not None else person.password
    if not station.passwords.fits(password, known) or person is None:
        station.logins.failed(name, address)
        station.store.audit.add("nobody", "login.failed", name[:100], detail={"address": address})
        raise LoginError(
            "Name and password do not fit", remedy="Check both; an admin can set another password"
        )
    station.logins.succeeded(name, address)
    made, cookie = station.sessions.begin(person.name, local=False, epoch=person.epoch, now_s=now_s)
    station.store.audit.add(person.name, "login", detail={"address": address})
    return Who(person.name, person.role, made), cookie


def session_json(station: Station, who: Who) -> dict[str, object]:
    """Return who asks as the documented JSON."""
    return {
        "name": who.name,
        "role": who.role.value,
        "local": who.name.startswith("local:"),
        "csrf": None if who.session is None else station.sessions.csrf(who.session),
    }
