"""Slows down guessing of passwords: after a few failures each further try waits twice as long."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from flawscope.core.errors import TooOftenError

_REMEMBERED = 10_000  # keys; the oldest are forgotten
_LONGEST_S = 3600.0
_FORGOTTEN_S = 24 * 3600.0
_PER_ADDRESS = 10  # times as many failures are let pass for an address as for a name


@dataclass(frozen=True)
class _Failures:
    count: int
    until_s: float  # no try is listened to before
    last_s: float


class LoginLimiter:
    """Counts failed logins by name with address, and by address alone."""

    def __init__(self, *, tries: int, wait_s: float, clock_s: Callable[[], float]) -> None:
        self._tries = tries
        self._wait_s = wait_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, name: str, address: str) -> None:
        """Raise TooOftenError where this try must wait."""
        now = self._clock_s()
        with self._lock:
            wait = max(self._left(key, now) for key in _keys(name, address))
        if wait > 0:
            seconds = int(wait) + 1
            error = TooOftenError("Too many failed logins", remedy=f"Try again in {seconds} s")
            error.retry_after_s = seconds
            raise error

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        now = self._clock_s()
        with self._lock:
            for key, free in zip(
                _keys(name, address), (self._tries, self._tries * _PER_ADDRESS), strict=True
            ):
                known = self._failures.pop(key, None)
                count = 1 if known is None or now - known.last_s > _FORGOTTEN_S else known.count + 1
                over = min(count - free, 20)
                wait = min(self._wait_s * 2**over, _LONGEST_S) if over >= 0 else 0.0
                self._failures[key] = _Failures(count, now + wait, now)
            while len(self._failures) > _REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a name at an address."""
        with self._lock:
            self._failures.pop(_keys(name, address)[0], None)

    def _left(self, key: tuple[str, str], now: float) -> float:
        known = self._failures.get(key)
        return 0.0 if known is None else known.until_s - now


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (name, address), ("", address)
