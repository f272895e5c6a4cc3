"""People, tokens, settings, the audit log, retention, alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, Field
from starlette.responses import Response

from flawscope.app.api.models import (
    AlarmOut,
    AuditOut,
    ChainOut,
    FreedOut,
    Model,
    NewTokenOut,
    Ok,
    PersonOut,
    RetentionOut,
    TokenOut,
    failures,
)
from flawscope.app.envelope import answer
from flawscope.app.security.access import Admin, Engineer, Operator, station_of
from flawscope.core.errors import RequestError
from flawscope.store.clock import from_iso
from flawscope.store.records import RoleName

router = APIRouter(tags=["admin"])
RoleIn = Literal["operator", "engineer", "admin"]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Password = Annotated[str, Field(max_length=2000)]


class PersonIn(Model):
    """A new person."""

    name: Name
    role: RoleIn
    password: Password


class PersonChange(Model):
    """What changes of a person; what is left out stays."""

    role: RoleIn | None = None
    password: Password | None = None
    disabled: bool | None = None


class TokenIn(Model):
    """A new token."""

    name: Name
    role: RoleIn = "operator"
    expires: AwareDatetime | None = None


class Seen(Model):
    """Why an alarm came."""

    cause: Annotated[str, Field(max_length=40)]
    note: Annotated[str, Field(max_length=2000)] = ""
    accept: Annotated[bool, Field(description="Meant: what it shows now counts as usual.")] = False


@router.get("/people", summary="Everybody", response_model=Ok[list[PersonOut]], responses=failures())
def people(request: Request, who: Admin) -> Response:
    """Return everybody who may log in."""
    return answer([one.to_json() for one in station_of(request).store.people.all()])


@router.post("/people", summary="Add a person", response_model=Ok[PersonOut], responses=failures(409))
def add_person(request: Request, who: Admin, person: PersonIn) -> Response:
    """Add a person."""
    station = station_of(request)
    hashed = station.passwords.hash(person.password)
    added = station.store.people.add(person.name, password=hashed, role=RoleName(person.role), who=who.name)
    return answer(added.to_json())


@router.patch(
    "/people/{name}", summary="Change a person", response_model=Ok[PersonOut], responses=failures(404, 409)
)
def change_person(
    request: Request, who: Admin, name: Annotated[str, Path(max_length=100)], change: PersonChange
) -> Response:
    """Change a person's role or password, or whether they may log in; their sessions end."""
    station = station_of(request)
    changed = station.store.people.change(
        name,
        who=who.name,
        role=None if change.role is None else RoleName(change.role),
        password=None if change.password is None else station.passwords.hash(change.password),
        disabled=change.disabled,
    )
    station.access.forget()
    return answer(changed.to_json())


@router.get("/tokens", summary="All tokens", response_model=Ok[list[TokenOut]], responses=failures())
def tokens(request: Request, who: Admin) -> Response:
    """Return all tokens, without what they are."""
    return answer([one.to_json() for one in station_of(request).store.people.tokens()])


@router.post("/tokens", summary="Make a token", response_model=Ok[NewTokenOut], responses=failures())
def add_token(request: Request, who: Admin, token: TokenIn) -> Response:
    """Make a token for a program. It is shown once: copy it now."""
    expires = None if token.expires is None else _microseconds(token.expires)
    record, key = station_of(request).store.people.add_token(
        token.name, person=who.name, role=RoleName(token.role), expires_us=expires, who=who.name
    )
    return answer(record.to_json() | {"token": key})


@router.delete("/tokens/{id}", summary="Revoke a token", status_code=204, responses=failures(404))
def revoke_token(request: Request, who: Admin, id: Annotated[str, Path(max_length=16)]) -> Response:
    """End a token at once."""
    station = station_of(request)
    station.store.people.revoke_token(id, who=who.name)
    station.access.forget()
    return Response(status_code=204)


@router.get("/audit", summary="The audit log", response_model=Ok[list[AuditOut]], responses=failures())
def audit(
    request: Request,
    who: Admin,
    before: Annotated[int | None, Query(ge=1, le=1 << 62)] = None,
    action: Annotated[str, Query(max_length=60)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Return entries of the audit log, the latest first; `before` is the `seq` of the last one of a page."""
    found = station_of(request).store.audit.entries(before=before, limit=limit, action=action)
    return answer([one.to_json() for one in found])


@router.post("/audit/verify", summary="Is the log whole?", response_model=Ok[ChainOut], responses=failures())
def verify(request: Request, who: Admin) -> Response:
    """Check the chain. 503 `audit_chain` names the first entry that does not fit."""
    return answer(dict(vars(station_of(request).store.audit.verify())))


@router.get("/settings", summary="The settings", response_model=Ok[dict[str, Any]], responses=failures())
def settings(request: Request, who: Operator) -> Response:
    """Return every setting."""
    return answer(station_of(request).options.to_json())


@router.patch("/settings", summary="Change settings", response_model=Ok[dict[str, Any]], responses=failures())
def change_settings(request: Request, who: Admin, values: dict[str, Any]) -> Response:
    """Change settings, all that are given or none."""
    station = station_of(request)
    changed = station.set_options(values, who=who.name)
    return answer(changed.to_json())


@router.get("/retention", summary="The disk", response_model=Ok[RetentionOut], responses=failures())
def retention(request: Request, who: Engineer) -> Response:
    """Return what images take, what is free, and what the rules would free now."""
    station = station_of(request)
    plan = station.store.retention.plan(station.options)
    return answer({"disk": station.store.retention.disk().to_json(), "plan": plan.to_json()})


@router.post("/retention", summary="Free the disk", response_model=Ok[FreedOut], responses=failures())
def free(request: Request, who: Admin) -> Response:
    """Free now what the rules say; records stay."""
    station = station_of(request)
    freed = station.store.retention.run(station.options, who=who.name, stop=lambda: station.closing)
    return answer(freed.to_json())


@router.get("/alarms", summary="Alarms", response_model=Ok[list[AlarmOut]], responses=failures())
def alarms(
    request: Request,
    who: Operator,
    open: Annotated[bool, Query(description="Only those that nobody has acknowledged.")] = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Return alarms of drift, the latest first."""
    found = station_of(request).store.alarms.all(open_only=open, limit=limit)
    return answer([one.to_json() for one in found])


@router.post(
    "/alarms/{seq}/acknowledge",
    summary="Acknowledge",
    response_model=Ok[AlarmOut],
    responses=failures(404, 409),
)
def acknowledge(
    request: Request, who: Engineer, seq: Annotated[int, Path(ge=1, le=1 << 62)], seen: Seen
) -> Response:
    """Note that this person has seen an alarm, and its cause."""
    station = station_of(request)
    known = station.store.alarms.get(seq)
    if seen.accept:
        station.drift.accept(known.bundle_id, str(known.detail.get("measure", "")))
    record = station.store.alarms.acknowledge(seq, person=who.name, cause=seen.cause, note=seen.note)
    station.events.publish("alarm", record.to_json())
    return answer(record.to_json())


def _microseconds(moment: datetime) -> int:
    try:
        return from_iso(moment.isoformat())
    except OverflowError:
        raise RequestError("This time does not fit", found=str(moment)) from None
