"""Sessions in signed cookies: who, since when, of which epoch. Nothing is kept here but the signing key.

A session ends with its time, or when the person's epoch moves on (another password or role, disabled, logged
out everywhere). The CSRF word belongs to the session: a page must send it back, which no other site can.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

COOKIE = "flawscope_session"
LASTS_S = 12 * 3600


@dataclass(frozen=True)
class Session:
    """What a cookie says."""

    name: str
    local: bool  # a name taken at this machine, without a password
    epoch: int
    since_s: int  # seconds since 1970
    nonce: str


class Sessions:
    """Signs and reads session cookies."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def begin(self, name: str, *, local: bool, epoch: int, now_s: int) -> tuple[Session, str]:
        """Return a new session and its cookie's value."""
        session = Session(name, local, epoch, now_s, secrets.token_urlsafe(12))
        values = [session.name, session.local, session.epoch, session.since_s, session.nonce]
        body = base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
        return session, f"{body}.{self._seal('session', body)}"

    def read(self, cookie: str, *, now_s: int) -> Session | None:
        """Return the session of a cookie, or None where it is not ours or its time is over."""
        body, _, seal = cookie.partition(".")
        if len(cookie) > 2048 or not hmac.compare_digest(seal.encode(), self._seal("session", body).encode()):
            return None
        values = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        session = Session(str(values[0]), bool(values[1]), int(values[2]), int(values[3]), str(values[4]))
        return session if 0 <= now_s - session.since_s < LASTS_S else None

    def csrf(self, session: Session) -> str:
        """Return the word that a page of this session sends back with every change."""
        return self._seal("csrf", f"{session.nonce}:{session.name}")

    def csrf_fits(self, session: Session, word: str) -> bool:
        """Whether a word is the session's."""
        return hmac.compare_digest(word.encode(), self.csrf(session).encode())

    def _seal(self, purpose: str, text: str) -> str:
        made = hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")
