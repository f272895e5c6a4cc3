"""`--engine ray`: what is refused, and that the whole command judges an archive on a Ray of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flawscope.core.extras import missing_modules

Run = Callable[..., Any]
SMALL = ("--methods", "padim", "--budget", "64", "--seeds", "1", "--threads", "1")


def test_an_address_needs_ray_and_ray_needs_its_extra(
    chips: Path, model: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = ("compare", "--data", chips, "--out", tmp_path / "cmp", *SMALL)
    inspect = ("inspect", "--model", model, chips / "test")
    for command in (compare, inspect):
        refused = run(*command, "--address", "10.0.0.5:6379")
        assert refused.exit_code == 2 and "--address belongs to --engine ray" in refused.stderr
        assert run(*command, "--engine", "threads").exit_code == 2
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in (compare, inspect):
        missing = run(*command, "--engine", "ray")
        assert missing.exit_code == 6 and "flawscope[scale]" in missing.stderr


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.skipif(bool(missing_modules("scale")), reason="needs flawscope[scale]")
def test_inspect_on_ray_prints_what_inspect_prints(
    chips: Path, model: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    command = ("inspect", "--model", model, chips / "test", "--threads", "1", "--json")
    here, there = (
        start(*command, *engine) for engine in ((), ("--engine", "ray", "--out", tmp_path / "seen"))
    )
    assert here.returncode == there.returncode == 0, there.stderr

    def told(text: str) -> list[Any]:
        return [json.loads(line) | {"timings_ms": None} for line in text.splitlines()]

    assert told(there.stdout) == told(here.stdout)
    assert len(list((tmp_path / "seen").rglob("*.png"))) == len(told(here.stdout))
