"""Broken copies of a module, on which an oracle must be seen to fail."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def broken_copy(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, str, str], ModuleType]:
    """Return a function that loads a copy of a module in which one piece of source text is replaced."""

    def load(module: ModuleType, old: str, new: str) -> ModuleType:
        source = inspect.getsource(module)
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {module.__name__}"
        copy = ModuleType(f"{module.__name__}_broken")
        monkeypatch.setitem(sys.modules, copy.__name__, copy)
        exec(compile(source.replace(old, new), copy.__name__, "exec"), copy.__dict__)
        return copy

    return load
