"""How numbers become text for people: units always, percent for shares, no false digits.

Number and unit are held together by a no-break space, so that no line ends between them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flawscope.core.types import Metric

NBSP = "\u00a0"
NOT_KNOWN = "not known"

Formatter = Callable[[float], str]


def percent(share: float) -> str:
    """Write a share (0 to 1) as percent with one decimal; only an exact 0 or 1 reads as 0 % or 100 %."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f}{NBSP}%"
    if 0 < share < 0.0005:
        return f"<{NBSP}0.1{NBSP}%"
    if 0.9995 <= share < 1:
        return f">{NBSP}99.9{NBSP}%"
    return f"{share * 100:.1f}{NBSP}%"


def ratio(value: float) -> str:
    """Write a dimensionless quality (AUROC, F1) with three decimals; only an exact 1 reads as 1.000."""
    if 0.9995 <= value < 1:
        return f">{NBSP}0.999"
    return f"{value:.3f}"


def score(value: float) -> str:
    """Write a score or a limit with four significant digits."""
    return f"{value:.4g}"


def p_value(value: float) -> str:
    """Write a p-value with two significant digits."""
    return f"{value:.2g}"


def milliseconds(value: float) -> str:
    """Write a duration given in milliseconds, from a second on in seconds."""
    if value >= 1000:
        return f"{value / 1000:.2f}{NBSP}s"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}{NBSP}ms"


def size(count: int) -> str:
    """Write a number of bytes in B, kB, MB or GB (powers of ten)."""
    if count < 1000:
        return f"{count}{NBSP}B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if count < 999.95 * scale:
            return f"{count / scale:.1f}{NBSP}{unit}"
    return f"{count / 1e9:.1f}{NBSP}GB"


def count(number: int) -> str:
    """Write a count with thin groups of three digits."""
    return f"{number:,}".replace(",", "\u202f")


def value(metric: Metric, formatter: Formatter) -> str:
    """Write a metric's value, or that it is not known."""
    return NOT_KNOWN if metric.value is None else formatter(metric.value)


def interval(metric: Metric, formatter: Formatter) -> str:
    """Write a metric's 95 % interval as `low to high`; empty where there is none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{formatter(metric.low)} to {formatter(metric.high)}"


def moment(iso: str) -> str:
    """Write an ISO 8601 time as `2026-03-01 14:03 UTC`; text that is no time stays as it is."""
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = parsed.strftime("%Z") if parsed.tzinfo is not None else "UTC"
    return f"{parsed:%Y-%m-%d %H:%M}{NBSP}{zone}"
