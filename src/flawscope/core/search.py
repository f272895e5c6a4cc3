"""The settings of a configuration that are worth trying, by name, with what is worth trying of each.

They are declared with `setting(..., search=...)`; here they are gathered, those of nested tables as
`training.learning_rate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Search, Span


@dataclass(frozen=True)
class Dimension:
    """One setting that is tuned."""

    name: str
    default: Any
    values: Search

    @property
    def whole(self) -> bool:
        """Whether only whole numbers count."""
        return isinstance(self.default, int) and not isinstance(self.default, bool)

    def holds(self, value: Any) -> bool:
        """Whether a value is among those that are tried."""
        if isinstance(self.values, Span):
            return bool(self.values.low <= value <= self.values.high)
        return value in self.values


def dimensions(configuration: Any, *, fixed: Mapping[str, Any] | None = None) -> tuple[Dimension, ...]:
    """Return what is tuned of a configuration, but what stands in `fixed`, a table of settings with the
    tables in it."""
    return tuple(_dimensions(configuration, fixed or {}, prefix=""))


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"training.steps": 5}` as `{"training": {"steps": 5}}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *tables, last = name.split(".")
        table = found
        for part in tables:
            table = table.setdefault(part, {})
        table[last] = value
    return found


def joined(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of settings with others laid over it, tables within tables too."""
    result = dict(base)
    for name, value in values.items():
        below = result.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[name] = joined(below, value) if both else value  # type: ignore[arg-type]
    return result


def _dimensions(configuration: Any, fixed: Mapping[str, Any], *, prefix: str) -> list[Dimension]:
    found: list[Dimension] = []
    for field in dataclasses.fields(configuration):
        value, given = getattr(configuration, field.name), fixed.get(field.name)
        if dataclasses.is_dataclass(value):
            inner = given if isinstance(given, Mapping) else {}
            found += _dimensions(value, inner, prefix=f"{prefix}{field.name}.")
        elif field.name not in fixed and field.metadata.get("search") is not None:
            found.append(Dimension(prefix + field.name, value, field.metadata["search"]))
    return found
