"""What is tuned of a configuration: gathered by name, within bounds, laid over what is given."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import flawscope.methods  # noqa: F401  registers them
from flawscope.core.config import Span, as_values, build, setting
from flawscope.core.registry import methods
from flawscope.core.search import Dimension, dimensions, joined, nested


@dataclass(frozen=True)
class Inner:
    """A nested group."""

    rate: float = setting(0.1, low=0, high=1, help="how fast", search=Span(0.01, 1, ratio=True))
    steps: int = setting(10, help="how long")


@dataclass(frozen=True)
class Outer:
    """One setting of each kind."""

    size: int = setting(4, help="how large", search=Span(1, 8))
    kind: str = setting("a", choices=("a", "b"), help="which", search=("a", "b"))
    kept: int = setting(1, help="not tuned")
    inner: Inner = Inner()


def test_dimensions_are_gathered_with_nested_ones_and_without_what_is_fixed():
    found = dimensions(Outer())
    assert [each.name for each in found] == ["size", "kind", "inner.rate"]
    assert [each.whole for each in found] == [True, False, False]
    assert found[2] == Dimension("inner.rate", 0.1, Span(0.01, 1, ratio=True))
    assert [each.name for each in dimensions(Outer(), fixed={"size": 4, "inner": {"steps": 3}})] == [
        "kind",
        "inner.rate",
    ]
    assert not dimensions(Outer(), fixed={"size": 4, "kind": "b", "inner": {"rate": 0.5}})


def test_names_become_tables_that_are_laid_over_others():
    assert nested({"size": 2, "inner.rate": 0.5}) == {"size": 2, "inner": {"rate": 0.5}}
    base = {"kept": 2, "inner": {"steps": 7, "rate": 1.0}}
    assert joined(base, nested({"size": 2, "inner.rate": 0.5})) == {
        "kept": 2,
        "size": 2,
        "inner": {"steps": 7, "rate": 0.5},
    }
    assert base == {"kept": 2, "inner": {"steps": 7, "rate": 1.0}}


@pytest.mark.parametrize("entry", list(methods), ids=lambda entry: entry.name)
def test_every_method_declares_what_is_worth_trying_and_its_default_is_among_it(entry):
    configuration = entry.method.Config()
    found = dimensions(configuration)
    assert len(found) >= 3
    for each in found:
        assert each.holds(each.default), each.name
        ends = (each.values.low, each.values.high) if isinstance(each.values, Span) else each.values
        for value in ends:
            value = int(value) if each.whole else value
            built = build(entry.method.Config, nested({each.name: value}), where=entry.name)
            assert as_values(built) != as_values(configuration) or value == each.default, each.name
