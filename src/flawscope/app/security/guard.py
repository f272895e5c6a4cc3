"""What every request must keep to before anything else looks at it, and what every answer carries.

- The name by which the station is called must be one of its own: a web page that has its own name point at
  this machine (DNS rebinding) is turned away.
- A change must come from the station's own pages or from a program: the browser says where from, in `Origin`
  and `Sec-Fetch-Site`.
- A body may not be larger than its route takes, nor take longer than it may to arrive.
- Answers carry a strict content security policy and are never stored, static files excepted.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from flawscope.app.envelope import error_answer
from flawscope.app.settings import Limits
from flawscope.core.errors import (
    FlawscopeError,
    ForbiddenError,
    RequestError,
    TooLargeError,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
App = Callable[[Scope, Receive, Send], Any]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=(), payment=(), usb=()"),
)
_NO_STORE = (b"cache-control", b"no-store")
_SLACK = 1 << 16  # what a form adds around an image


class SlowError(RequestError):
    """A body took too long to arrive."""

    default_code = "too_slow"
    status = 408


class Guard:
    """The outermost layer of the station (an ASGI application around the one inside)."""

    def __init__(self, inside: App, *, limits: Limits, names: Sequence[str], any_name: bool) -> None:
        """Take the application to guard; `names` are the host names it is called by, and with `any_name`
        every other one is taken as well (a login stands behind it)."""
        self._inside = inside
        self._limits = limits
        self._names = frozenset(name.lower().strip("[]") for name in names)
        self._any_name = any_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._inside(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        static = scope["path"].startswith("/static/")
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message["headers"]}
                added = [*HEADERS] if static or b"cache-control" in given else [*HEADERS, _NO_STORE]
                message["headers"] = [*message["headers"], *(one for one in added if one[0] not in given)]
            await send(message)

        try:
            self._check_host(headers)
            self._check_origin(scope["method"], headers)
            await self._inside(scope, self._receiving(scope, headers, receive), sending)
        except FlawscopeError as error:
            if started:
                raise
            await error_answer(error)(dict(scope), receive, sending)

    def _check_host(self, headers: Mapping[bytes, str]) -> None:
        host = headers.get(b"host", "")
        if not _HOST.fullmatch(host):
            raise ForbiddenError("The request does not say whom it calls", expected="a Host header")
        if not self._any_name and name_of(host) not in self._names:
            raise ForbiddenError(
                f"This station is not called {host[:80]}",
                expected="one of " + ", ".join(sorted(self._names)),
                remedy="Start it with --allow-host where it has another name",
            )

    def _check_origin(self, method: str, headers: Mapping[bytes, str]) -> None:
        if method in SAFE:
            return
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site", "same-origin")
        if origin is not None:
            own = origin.partition("://")[2].lower() == headers[b"host"].lower()
        else:
            own = site in ("same-origin", "none")
        if not own:
            raise ForbiddenError(
                "This change was asked for by another site",
                expected="a page of this station, or a program",
                found=(origin or site)[:80],
            )

    def _receiving(self, scope: Scope, headers: Mapping[bytes, str], receive: Receive) -> Receive:
        """Return a `receive` that counts what arrives."""
        most = self._most(scope["path"])
        declared = headers.get(b"content-length", "0")
        if not declared.isdecimal():
            raise RequestError("The length of the body is no number", found=declared[:20])
        if int(declared) > most:
            raise _too_large(int(declared), most)
        got, until = 0, time.monotonic() + self._limits.body_s
        done = False

        async def receiving() -> Message:
            nonlocal got, done
            if done:  # only a disconnect can follow, whenever it comes
                return await receive()  # type: ignore[no-any-return]
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise SlowError(
                    "The request did not arrive in time", expected=f"within {self._limits.body_s:g} s"
                ) from None
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if got > most:
                    raise _too_large(got, most)
            return message  # type: ignore[no-any-return]

        return receiving

    def _most(self, path: str) -> int:
        limits = self._limits
        if path == "/api/inspect":
            return limits.image_bytes * 4 // 3 + _SLACK  # as base64
        if path == "/api/batch":
            return limits.image_bytes * 4 + _SLACK
        if path == "/api/bundles":
            return limits.bundle_bytes + _SLACK
        if path.startswith("/api/sets/") and path.endswith("/images"):
            return limits.image_bytes * 4 + _SLACK
        return limits.image_bytes + _SLACK if path == "/api/reviews" else limits.body_bytes


def name_of(host: str) -> str:
    """Return the name or address of a Host header, without port and brackets."""
    found = _HOST.fullmatch(host)
    return found.group(1).strip("[]").lower() if found else ""


def _too_large(found: int, most: int) -> TooLargeError:
    return TooLargeError(
        "The request is too large",
        expected=f"at most {most / 1e6:.1f} MB",
        found=f"{found / 1e6:.1f} MB",
        remedy="Send fewer or smaller images",
    )
