"""Times as the store keeps them: whole microseconds since 1970, UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flawscope.core.errors import UsageError

Clock = Callable[[], int]
_START = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """Return the time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def iso(at_us: int) -> str:
    """Write a time as ISO 8601 in UTC, with microseconds and `Z`."""
    moment = _START + timedelta(microseconds=at_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def iso_or_none(at_us: int | None) -> str | None:
    """Write a time as `iso` does; None stays None."""
    return None if at_us is None else iso(at_us)


def from_iso(text: str) -> int:
    """Read a date or a time of ISO 8601; without an offset it is UTC. Raises UsageError for anything else."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _START) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no time", expected="ISO 8601, such as 2026-03-01T06:00Z") from error
