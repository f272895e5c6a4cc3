"""Settings: read, checked, explained, and written back."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flawscope.core.config import as_values, build, merged, setting
from flawscope.core.errors import ConfigError


class Colour(StrEnum):
    """Something to choose from."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Inner:
    """A nested group."""

    rate: float = setting(0.5, low=0, high=1, unit="of all", help="how much of it")
    steps: tuple[int, ...] = (1, 2)
    most: float = setting(1.0, high=2, help="bounded on one side")


@dataclass(frozen=True)
class Outer:
    """One setting of each kind."""

    name: str
    count: int = setting(3, low=1, help="how many")
    level: str = setting("mid", choices=("low", "mid", "high"), help="how loud")
    colour: Colour = Colour.RED
    flag: bool = False
    path: Path | None = None
    pair: tuple[int, int] = (4, 5)
    table: dict[str, Any] = field(default_factory=dict)
    inner: Inner = Inner()


def test_values_become_what_the_hints_say():
    built = build(
        Outer,
        {
            "name": "a",
            "count": 4.0,
            "colour": "green",
            "path": "some/where",
            "pair": [1, 2],
            "table": {"x": 1},
            "inner": {"rate": 1, "steps": [7, 8, 9]},
        },
        where="config",
    )
    assert built == Outer(
        "a",
        count=4,
        colour=Colour.GREEN,
        path=Path("some/where"),
        pair=(1, 2),
        table={"x": 1},
        inner=Inner(1.0, (7, 8, 9)),
    )
    assert type(built.count) is int and type(built.inner.rate) is float


@pytest.mark.parametrize(
    "values, words",
    [
        ({"name": "a", "cuont": 1}, ["'cuont'", "Did you mean 'count'?"]),
        ({"name": "a", "inner": {"rte": 1}}, ["config.inner", "Did you mean 'rate'?"]),
        ({}, ["lacks name"]),
        ({"name": "a", "count": 0}, ["config.count is too small", "at least 1"]),
        ({"name": "a", "inner": {"rate": 1.5}}, ["config.inner.rate is too large", "at most 1 of all"]),
        ({"name": "a", "inner": {"rate": float("nan")}}, ["config.inner.rate"]),
        ({"name": "a", "inner": {"most": float("nan")}}, ["config.inner.most"]),
        ({"name": "a", "level": "hgh"}, ["low, mid, high", "Did you mean 'high'?"]),
        ({"name": "a", "colour": "gren"}, ["red, green", "Did you mean 'green'?"]),
        ({"name": "a", "count": 1.5}, ["config.count", "type int", "1.5"]),
        ({"name": "a", "count": True}, ["config.count", "type int"]),
        ({"name": "a", "flag": 1}, ["config.flag", "type bool"]),
        ({"name": 1}, ["config.name", "type str"]),
        ({"name": "a", "pair": [1]}, ["config.pair", "2 values"]),
        ({"name": "a", "pair": "12"}, ["config.pair", "a list"]),
        ({"name": "a", "pair": [1, "x"]}, ["config.pair[1]"]),
        ({"name": "a", "inner": 3}, ["config.inner", "no table"]),
        ({"name": "a", "table": 3}, ["config.table", "a table"]),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(values, words):
    with pytest.raises(ConfigError) as caught:
        build(Outer, values, where="config")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


@given(
    count=st.integers(1, 10**9),
    rate=st.floats(0, 1),
    steps=st.lists(st.integers(), max_size=4),
    path=st.none() | st.just(Path("a/b")),
    colour=st.sampled_from(Colour),
)
def test_written_and_read_again_is_the_same(count, rate, steps, path, colour):
    original = Outer("a", count=count, path=path, colour=colour, inner=Inner(rate, tuple(steps)))
    values = as_values(original)
    assert build(Outer, values, where="config") == original
    assert type(values["colour"]) is str and isinstance(values["inner"], dict)


def test_only_configurations_have_values():
    with pytest.raises(TypeError):
        as_values({"a": 1})


def test_assignments_reach_nested_groups():
    base = {"a": {"b": {"c": 1, "d": 2}}, "e": 3}
    kept = copy.deepcopy(base)
    result = merged(base, ["a.b.c=7", "e=x", "new.deep.er=0.5"])
    assert result == {"a": {"b": {"c": 7, "d": 2}}, "e": "x", "new": {"deep": {"er": 0.5}}}
    assert base == kept


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("none", None),
        ("null", None),
        ("a=b", "a=b"),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("[]", []),
        ("C:\\photos", "C:\\photos"),
        ("", ""),
    ],
)
def test_assigned_text_is_read_as_what_it_looks_like(text, value):
    got = merged({}, [f"key={text}"])["key"]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("assignment", ["novalue", "=1", " =1", "a.b=1"])
def test_what_is_no_assignment_is_refused(assignment):
    with pytest.raises(ConfigError):
        merged({"a": 5}, [assignment])
