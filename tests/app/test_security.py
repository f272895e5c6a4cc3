"""Who gets in, who may do what, and what every request and answer must keep to."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher
from worlds import World

from flawscope.app.security.limiter import LoginLimiter
from flawscope.app.security.passwords import Passwords
from flawscope.app.security.sessions import LASTS_S, Sessions
from flawscope.app.settings import Limits, StationSettings
from flawscope.app.station import Station
from flawscope.core.errors import TooOftenError, UsageError
from flawscope.store.records import RoleName
from flawscope.store.store import Store

Client = Any
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
WORDS = "correct horse battery"


@pytest.fixture
def people(tmp_path: Any) -> str:
    """A store with one person of each role."""
    place = str(tmp_path / "station")
    with Store(place) as store:
        for role in RoleName:
            store.people.add(f"{role}1", password=QUICK.hash(WORDS), role=role, who="test")
    return place


@pytest.fixture
def open_to_all(open_station: Callable[..., Client], people: str, world: World) -> Client:
    """A station that is bound to every address, and therefore wants a login."""
    client = open_station(store=people, host="0.0.0.0", models=(world.model,))
    client.station.passwords = QUICK
    return client


def log_in(client: Client, name: str) -> dict[str, str]:
    """Log in and return the header that changes need."""
    answer = client.post("/api/session", json={"name": name, "password": WORDS})
    assert answer.status_code == 200, answer.text
    return {"x-csrf-token": answer.json()["data"]["csrf"]}


def test_no_station_opens_to_the_network_without_an_admin(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="nobody is its admin") as caught:
        Station(StationSettings(store=str(tmp_path), host="0.0.0.0"))
    assert caught.value.code == "no_admin" and "people add" in caught.value.remedy


@pytest.mark.parametrize(
    "method, path",
    [("GET", "/api/inspections"), ("POST", "/api/inspect"), ("GET", "/metrics"), ("GET", "/api/events")],
)
def test_without_a_login_nothing_is_told(open_to_all: Client, method: str, path: str) -> None:
    answer = open_to_all.request(method, path)
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "login"
    assert open_to_all.get("/healthz").status_code == 200


def test_on_localhost_nobody_logs_in_and_a_name_can_be_taken(client: Client) -> None:
    first = client.get("/api/session").json()["data"]
    assert first["name"].startswith("local:") and first["role"] == "admin" and first["csrf"] is None
    given = client.post("/api/session", json={"name": "Kim"}).json()["data"]
    assert given["name"] == "local:Kim"
    assert client.patch("/api/settings", json={"theme": "dark"}).json()["error"]["code"] == "csrf"
    headers = {"x-csrf-token": given["csrf"]}
    assert client.patch("/api/settings", json={"theme": "dark"}, headers=headers).status_code == 200
    assert client.station.store.audit.entries(action="settings.change")[0].who == "local:Kim"
    assert client.delete("/api/session", headers=headers).status_code == 204
    assert client.get("/api/session").json()["data"]["name"] == first["name"]


@pytest.mark.parametrize(
    "name, path, allowed",
    [
        ("operator1", "/api/reviews/disagreements", False),
        ("engineer1", "/api/reviews/disagreements", True),
        ("engineer1", "/api/people", False),
        ("admin1", "/api/people", True),
        ("operator1", "/api/reviews/queue", True),
        ("operator1", "/api/audit", False),
    ],
)
def test_roles_may_what_is_theirs(open_to_all: Client, name: str, path: str, allowed: bool) -> None:
    log_in(open_to_all, name)
    answer = open_to_all.get(path)
    assert answer.status_code == (200 if allowed else 403)
    if not allowed:
        assert answer.json()["error"]["code"] == "role"


def test_a_change_needs_the_sessions_word(open_to_all: Client) -> None:
    headers = log_in(open_to_all, "admin1")
    wish = {"name": "lee", "role": "operator", "password": WORDS}
    for wrong in ({}, {"x-csrf-token": "x"}, {"x-csrf-token": headers["x-csrf-token"][:-1]}):
        assert open_to_all.post("/api/people", json=wish, headers=wrong).json()["error"]["code"] == "csrf"
    assert open_to_all.post("/api/people", json=wish, headers=headers).status_code == 200
    assert open_to_all.post("/api/people", json=wish, headers=headers).status_code == 409


def test_sessions_end_with_password_role_and_person(open_to_all: Client) -> None:
    people = open_to_all.station.store.people
    for change in ({"role": RoleName.ENGINEER}, {"password": QUICK.hash(WORDS)}, {"disabled": True}):
        log_in(open_to_all, "operator1")
        assert open_to_all.get("/api/inspections").status_code == 200
        people.change("operator1", who="test", **change)
        open_to_all.station.access.forget()
        assert open_to_all.get("/api/inspections").status_code == 401
    assert open_to_all.post("/api/session", json={"name": "operator1", "password": WORDS}).status_code == 401


def test_tokens_carry_their_role_until_they_are_revoked(open_to_all: Client, world: World) -> None:
    headers = log_in(open_to_all, "admin1")
    made = open_to_all.post("/api/tokens", json={"name": "cell 4"}, headers=headers).json()["data"]
    assert made["token"] not in open_to_all.get("/api/tokens").text
    open_to_all.cookies.clear()
    bearer = {"authorization": f"Bearer {made['token']}"}
    content = world.pictures()[0].read_bytes()
    answer = open_to_all.post("/api/inspect", content=content, headers=bearer | {"content-type": "image/png"})
    assert answer.status_code == 200 and answer.json()["data"]["person"] == "admin1/cell 4"
    assert open_to_all.get("/api/people", headers=bearer).status_code == 403
    for wrong in ("Bearer", "Bearer x", "Basic eDp4", f"Bearer {made['token'][:-1]}"):
        assert open_to_all.get("/api/inspections", headers={"authorization": wrong}).status_code == 401
    headers = log_in(open_to_all, "admin1")
    assert open_to_all.delete(f"/api/tokens/{made['id']}", headers=headers).status_code == 204
    open_to_all.cookies.clear()
    assert open_to_all.get("/api/inspections", headers=bearer).status_code == 401
    with open_to_all.station.store.database.reading() as connection:
        kept = str(connection.exec_driver_sql("SELECT * FROM tokens").all())
    assert made["token"] not in kept and made["token"].split("_", 2)[2] not in kept


def test_guessing_passwords_becomes_slow(open_to_all: Client) -> None:
    wrong = {"name": "admin1", "password": "wrong words here"}
    statuses = [open_to_all.post("/api/session", json=wrong).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    answer = open_to_all.post("/api/session", json={"name": "admin1", "password": WORDS})
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
    log_in(open_to_all, "engineer1")  # others are not kept out
    assert len(open_to_all.station.store.audit.entries(action="login.failed")) == 5


def test_the_limiter_doubles_and_forgets() -> None:
    now = [0.0]
    limiter = LoginLimiter(tries=2, wait_s=10.0, clock_s=lambda: now[0])
    limiter.failed("kim", "a")
    limiter.check("kim", "a")
    for wait in (10, 20, 40):
        limiter.failed("kim", "a")
        with pytest.raises(TooOftenError) as caught:
            limiter.check("kim", "a")
        assert caught.value.retry_after_s == wait + 1
        limiter.check("kim", "b")
        now[0] += wait
        limiter.check("kim", "a")
    limiter.succeeded("kim", "a")
    limiter.failed("kim", "a")
    limiter.check("kim", "a")
    for n in range(30):
        limiter.failed(f"name {n}", "c")  # one address, many names
    with pytest.raises(TooOftenError):
        limiter.check("somebody", "c")


def test_passwords_are_argon2_and_long_enough() -> None:
    hashed = Passwords().hash(WORDS)
    assert hashed.startswith("$argon2id$") and WORDS not in hashed
    assert QUICK.fits(WORDS, hashed) and not QUICK.fits("other words", hashed)
    assert not QUICK.fits(WORDS, None) and not QUICK.fits(WORDS, "no hash")
    for short in ("short", "x" * 1025):
        with pytest.raises(UsageError):
            QUICK.hash(short)


def test_cookies_are_signed_and_end() -> None:
    sessions = Sessions(b"k" * 32)
    session, cookie = sessions.begin("kim", local=False, epoch=3, now_s=1000)
    assert sessions.read(cookie, now_s=1000 + LASTS_S - 1) == session
    assert sessions.read(cookie, now_s=1000 + LASTS_S) is None
    body, _, seal = cookie.partition(".")
    other = Sessions(b"x" * 32).begin("kim", local=False, epoch=3, now_s=1000)[1]
    for wrong in (
        "",
        ".",
        "a.b",
        body,
        f"{body}.",
        f"{body[:-2]}AA.{seal}",
        f"{body}.{seal[:-1]}",
        other,
        "x" * 3000,
    ):
        assert sessions.read(wrong, now_s=1000) is None
    assert sessions.csrf_fits(session, sessions.csrf(session)) and not sessions.csrf_fits(session, "")
    assert not sessions.csrf_fits(
        sessions.begin("kim", local=False, epoch=3, now_s=1000)[0], sessions.csrf(session)
    )


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "a b", "127.0.0.1@evil"],
)
def test_other_names_than_ones_own_are_refused(client: Client, host: str) -> None:
    answer = client.get("/api/session", headers={"host": host})
    assert answer.status_code in (400, 403), answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_ones_own_names_are_taken(client: Client, host: str) -> None:
    assert client.get("/api/session", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_changes_that_other_sites_ask_for_are_refused(client: Client, headers: dict[str, str]) -> None:
    answer = client.patch("/api/settings", json={"theme": "dark"}, headers=headers)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden"
    assert client.station.options.theme == "light"


def test_every_answer_has_its_headers(client: Client) -> None:
    for path in ("/api/session", "/healthz", "/nothing", "/api/inspections?limit=0"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert "server" not in headers or "uvicorn" in headers["server"]
    refused = client.get("/healthz", headers={"host": "evil.example"})
    assert "content-security-policy" in refused.headers


def test_a_body_that_is_too_long_or_too_slow_is_given_up(
    open_station: Callable[..., Client], world: World
) -> None:
    client = open_station(models=(world.model,), limits=Limits(body_s=3, body_bytes=1000))
    answer = client.patch("/api/settings", json={"theme": "x" * 2000})
    assert answer.status_code == 413

    def chunks() -> Any:
        for _ in range(20):
            yield b'{"a": "' + b"x" * 100

    assert client.patch("/api/settings", content=chunks()).status_code == 413
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(b"PATCH /api/settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        raw.settimeout(30)
        start = time.monotonic()
        assert b" 408 " in raw.recv(4096) and time.monotonic() - start < 25


@pytest.mark.parametrize(
    "path",
    [
        "/api/inspections/..%2f..%2fetc%2fpasswd/image",
        "/api/bundles/../../signing.key",
        "/api/bundles/..%2fsigning/file",
        "/static/../signing.key",
        "/static/..%2f..%2fsettings.py",
        "/signing.key",
    ],
)
def test_no_path_of_a_client_reaches_the_file_system(client: Client, path: str) -> None:
    client.station.store.signing_key()
    with socket.create_connection(("127.0.0.1", client.base_url.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        raw.settimeout(10)
        assert raw.recv(64).split()[1] in (b"404", b"400", b"422", b"405")


def test_what_people_do_is_in_a_log_whose_chain_holds(open_to_all: Client) -> None:
    headers = log_in(open_to_all, "admin1")
    open_to_all.patch("/api/settings", json={"sample_rate": 0.5}, headers=headers)
    log = open_to_all.get("/api/audit").json()["data"]
    assert [(one["who"], one["action"]) for one in log[:2]] == [
        ("admin1", "settings.change"),
        ("admin1", "login"),
    ]
    whole = open_to_all.post("/api/audit/verify", headers=headers).json()["data"]
    assert whole["entries"] == log[0]["seq"]
    with open_to_all.station.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE audit SET who = 'nobody' WHERE seq = 2")
    broken = open_to_all.post("/api/audit/verify", headers=headers)
    assert broken.status_code == 503 and broken.json()["error"]["message"] == "Audit chain breaks at record 2"
