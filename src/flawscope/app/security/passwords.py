"""Passwords as argon2id hashes. Checking one takes a tenth of a second and 64 MB, on purpose."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from flawscope.core.errors import UsageError

SHORTEST = 10
LONGEST = 1024
_AT_ONCE = 2  # checks at the same time, so that many tries cannot fill the memory


class Passwords:
    """Hashes and checks passwords. Safe to call from several threads."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """Return the hash of a new password. Raises UsageError for one that is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise UsageError(
                "This password will not do", expected=f"{SHORTEST} to {LONGEST} characters; words are fine"
            )
        with self._room:
            return self._hasher.hash(password)

    def fits(self, password: str, hashed: str | None) -> bool:
        """Whether a password has this hash; None (nobody of that name) takes as long and never fits."""
        with self._room:
            try:
                self._hasher.verify(hashed or self._nobody, password[: LONGEST + 1])
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
        return hashed is not None
