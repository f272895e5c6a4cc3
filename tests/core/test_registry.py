"""The registry of methods."""

from __future__ import annotations

import pytest

from flawscope.core.errors import UsageError
from flawscope.core.registry import Kind, Registry, did_you_mean


def filled() -> tuple[Registry, type]:
    """Return a registry with three entries, and the class of one."""
    registry = Registry()

    @registry.register("zeta", kind=Kind.ONE_CLASS, summary="s", paper="p")
    class Zeta:
        pass

    registry.register("alpha", kind=Kind.SUPERVISED, summary="s", paper="p", extra="train")(type("A", (), {}))
    registry.register("beta", kind=Kind.ONE_CLASS, summary="s", paper="p")(type("B", (), {}))
    return registry, Zeta


def test_entries_are_found_and_listed_by_kind_and_name():
    registry, zeta = filled()
    assert registry["zeta"].method is zeta and registry["zeta"].extra is None
    assert registry["alpha"].extra == "train"
    assert [entry.name for entry in registry] == ["beta", "zeta", "alpha"] and len(registry) == 3


def test_a_name_serves_once():
    registry, zeta = filled()
    with pytest.raises(ValueError, match="zeta"):
        registry.register("zeta", kind=Kind.ONE_CLASS, summary="", paper="")(zeta)
    assert registry["zeta"].summary == "s"


def test_an_unknown_name_gets_the_nearest_one():
    registry, _ = filled()
    with pytest.raises(UsageError, match="Did you mean 'zeta'"):
        registry["zeat"]
    with pytest.raises(UsageError, match="flawscope methods"):
        registry["qqqqqq"]


def test_a_far_word_is_no_guess():
    assert did_you_mean("bank", ["bank_size", "seed"]) == "Did you mean 'bank_size'?"
    assert did_you_mean("xyz", ["bank_size", "seed"]) == ""
