"""`flawscope methods`: what can learn, what each needs, and how it is set."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson
from flawscope.core.extras import missing_modules

if TYPE_CHECKING:
    from flawscope.core.registry import Entry


def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method whose settings are shown.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods, or the settings of one."""
    importlib.import_module("flawscope.methods")  # registers them
    from flawscope.core.registry import methods as registry

    if name is None:
        entries = list(registry)
        if as_json:
            words.say_json([as_values(entry) for entry in entries])
            return
        for entry in entries:
            words.say(f"{entry.name}   ({entry.kind.replace('_', ' ')}; needs {needs(entry)})")
            words.sentence(entry.summary, indent=4)
        words.say("Next: flawscope methods NAME shows a method's settings.")
        return
    entry = registry[name]
    if as_json:
        words.say_json(as_values(entry) | {"settings": settings_of(entry)})
        return
    words.say(f"{entry.name}: {entry.summary}")
    words.say(f"{entry.paper}; needs {needs(entry)}.")
    for setting in settings_of(entry):
        unit = f" {setting['unit']}" if setting["unit"] else ""
        words.say()
        words.say(f"  {setting['name']} = {_shown(setting['default'])}{unit}{_bounds(setting)}")
        words.say(f"      {setting['help']}{' Time or memory only.' if setting['speed_only'] else ''}")
        if setting["search"] is not None:
            words.say(f"      flawscope tune tries {_tried(setting['search'])}")
    words.say()
    example = settings_of(entry)[0]
    words.say(
        f"Set one with: flawscope train --method {entry.name} "
        f"--set settings.{example['name']}={_shown(example['default'])}"
    )


def needs(entry: Entry) -> str:
    """Say what fitting a method needs, and whether that is installed."""
    if entry.extra is None:
        return "the base install"
    missing = missing_modules(entry.extra)
    return f"[{entry.extra}], {'not installed' if missing else 'installed'}"


def as_values(entry: Entry) -> dict[str, Any]:
    """Return a method as JSON."""
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "extra": entry.extra,
        "installed": entry.extra is None or not missing_modules(entry.extra),
        "summary": entry.summary,
        "paper": entry.paper,
    }


def settings_of(entry: Entry) -> list[dict[str, Any]]:
    """Return a method's settings, those of a nested table as `training.steps`: name, default, unit, bounds,
    choices, and what a change does."""
    return _listed(entry.method.Config(), prefix="")


def _listed(configuration: Any, *, prefix: str) -> list[dict[str, Any]]:
    from flawscope.core.config import as_values as plain_values

    defaults = plain_values(configuration)
    found = []
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if dataclasses.is_dataclass(value):
            found += _listed(value, prefix=f"{prefix}{field.name}.")
            continue
        found.append(
            {
                "name": prefix + field.name,
                "default": defaults[field.name],
                "unit": field.metadata.get("unit", ""),
                "low": field.metadata.get("low"),
                "high": field.metadata.get("high"),
                "choices": list(field.metadata.get("choices", ())),
                "help": field.metadata.get("help", ""),
                "speed_only": field.metadata.get("speed_only", False),
                "search": _search(field.metadata.get("search")),
            }
        )
    return found


def _search(search: Any) -> Any:
    """Return what is tried as JSON: a range, a list of values, or None."""
    if search is None or isinstance(search, tuple):
        return None if search is None else list(search)
    return {"low": search.low, "high": search.high, "ratio": search.ratio}


def _tried(search: Any) -> str:
    if isinstance(search, dict):
        return f"{search['low']:g} to {search['high']:g}{', in equal ratios' if search['ratio'] else ''}"
    return ", ".join(_shown(value) for value in search)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _bounds(setting: dict[str, Any]) -> str:
    if setting["choices"]:
        return f"   ({', '.join(setting['choices'])})"
    low, high = setting["low"], setting["high"]
    if low is not None and high is not None:
        return f"   ({_plain(low)} to {_plain(high)})"
    if low is not None:
        return f"   (from {_plain(low)})"
    return "" if high is None else f"   (up to {_plain(high)})"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
