"""`flawscope limits`, end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import World

Run = Callable[..., Any]
KIM = ("--who", "Kim", "--why", "lot A12")


@pytest.fixture
def judged(world: World, tmp_path: Path) -> Path:
    """Test photographs of the chips, handed in as parts that people have judged."""
    shutil.copytree(world.data / "test", tmp_path / "judged")
    return tmp_path / "judged"


def test_it_shows_and_moves_limits(split_world: World, judged: Path, run: Run, tmp_path: Path) -> None:
    shown = run("limits", "--model", split_world.model, "--reviewed", judged, "--threads", "1")
    assert shown.exit_code == 0, shown.stderr
    assert "good parts called NG" in shown.stdout and "Next: flawscope limits" in shown.stdout
    out = tmp_path / "v2.flaw"
    command = ("limits", "--model", split_world.model, "--ng", "0.01", "--out", out, *KIM)
    moved = run(*command, "--reviewed", judged)
    assert moved.exit_code == 0, moved.stderr
    assert "change sides" in moved.stdout and "wherever the limits are put" in moved.stdout
    card = run("card", "--model", out)
    assert "by hand, Kim: lot A12" in card.stdout


def test_json(split_world: World, run: Run, tmp_path: Path) -> None:
    found = json.loads(run("limits", "--model", split_world.model, "--json").stdout)
    assert found["now"]["false_alarms"]["n"] == 12 and found["now"]["missed"]["value"] is None
    out = tmp_path / "v2.flaw"
    moved = run("limits", "--model", split_world.model, "--alpha", "0.2", "--out", out, *KIM, "--json")
    values = json.loads(moved.stdout)
    assert values["parent"] == found["bundle_id"] != values["bundle_id"]
    assert values["after"]["false_alarms"]["value"] >= values["before"]["false_alarms"]["value"]


@pytest.mark.parametrize(
    "arguments", [("--ng", "1"), ("--out", "new.flaw"), ("--ng", "1", "--out", "new.flaw")]
)
def test_half_a_move_is_refused(split_world: World, run: Run, arguments: tuple[str, ...]) -> None:
    result = run("limits", "--model", split_world.model, *arguments)
    assert result.exit_code == 2 and "Error:" in result.stderr
