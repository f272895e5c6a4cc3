"""Settings as frozen dataclasses: read from mappings, checked, explained.

A setting is declared with `setting(default, help=..., unit=..., ...)`; the help says what a change does. The
same declaration feeds the configuration file, `--set a.b=value`, the reference pages and the contract tests.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from flawscope.core.errors import ConfigError
from flawscope.core.registry import did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Span:
    """A range of numbers worth trying, both ends included; `ratio` tries equal ratios as often as each other,
    not equal steps."""

    low: float
    high: float
    ratio: bool = False


Search = Span | tuple[Any, ...]  # a range, or the values themselves


def setting(
    default: Any,
    *,
    help: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    speed_only: bool = False,
    search: Search | None = None,
) -> Any:
    """Declare a setting of a configuration dataclass.

    `low` and `high` bound a number (both included), `choices` a text. `speed_only` marks what changes time or
    memory and never the outcome. `search` says what is worth trying where settings are tuned; None: not
    tuned.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "unit": unit,
            "low": low,
            "high": high,
            "choices": choices,
            "speed_only": speed_only,
            "search": search,
        },
    )


def build(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Make a configuration from plain values. Nested dataclasses are built from nested mappings.

    Raises ConfigError for an unknown key (naming the nearest one), a value of the wrong type or out of
    bounds.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is no table of settings", found=repr(values))
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"{where} has no setting {key!r}",
                expected="one of " + ", ".join(fields),
                remedy=did_you_mean(key, list(fields)),
            )
        place = f"{where}.{key}"
        default = fields[key].default
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            value = {**as_values(default), **value}  # what is not set keeps this table's own defaults
        arguments[key] = _convert(value, hints[key], place)
        _check(arguments[key], fields[key].metadata, place)
    missing = [
        name
        for name, field in fields.items()
        if name not in arguments
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    try:
        return kind(**arguments)
    except ValueError as error:  # what the configuration itself checks when it is made
        raise ConfigError(f"{where} does not fit", found=str(error)) from error


def as_values(configuration: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON values, nested dataclasses included."""
    if not dataclasses.is_dataclass(configuration):
        raise TypeError(f"{configuration!r} is no configuration")
    return {
        field.name: _plain(getattr(configuration, field.name))
        for field in dataclasses.fields(configuration)
        if field.init
    }


def merged(base: Mapping[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return `base` with `a.b=value` assignments applied; values are read as numbers, booleans, null or text.

    Raises ConfigError for an assignment without `=` or through a value that is no table.
    """
    result = _copied(base)
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(
                f"--set {assignment} is no assignment", expected="name=value or group.name=value"
            )
        *groups, name = path.strip().split(".")
        table = result
        for group in groups:
            inner = table.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {assignment}: {group} is a value, not a table")
            table = inner
        table[name] = _literal(text.strip())
    return result


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a table with the tables in it, so that assignments leave the original as it was."""
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text.startswith("[") and text.endswith("]"):
        return [_literal(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_values(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _convert(value, next(option for option in options if option is not type(None)), where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} does not fit", expected="a table of settings", found=repr(value))
        return {str(key): item for key, item in value.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} does not fit", expected="a list", found=repr(value))
        kinds = typing.get_args(hint)
        repeated = len(kinds) == 2 and kinds[1] is Ellipsis
        if not repeated and len(value) != len(kinds):
            raise ConfigError(f"{where} does not fit", expected=f"{len(kinds)} values", found=repr(value))
        return tuple(
            _convert(item, kinds[0] if repeated else kinds[i], f"{where}[{i}]")
            for i, item in enumerate(value)
        )
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, where=where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            names = [member.value for member in hint]
            raise ConfigError(
                f"{where} does not fit",
                expected="one of " + ", ".join(names),
                found=repr(value),
                remedy=did_you_mean(str(value), names),
            ) from None
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{where} does not fit", expected=f"a value of type {name}", found=repr(value))


def _check(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices")
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = f" {metadata['unit']}" if metadata.get("unit") else ""
        if low is not None and not value >= low:
            raise ConfigError(f"{where} is too small", expected=f"at least {low:g}{unit}", found=f"{value:g}")
        if high is not None and not value <= high:
            raise ConfigError(f"{where} is too large", expected=f"at most {high:g}{unit}", found=f"{value:g}")
    if choices and value not in choices:
        raise ConfigError(
            f"{where} does not fit",
            expected="one of " + ", ".join(choices),
            found=repr(value),
            remedy=did_you_mean(str(value), list(choices)),
        )
