"""`flawscope audit`: what it prints and writes, its exit codes, and a manifest that train can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def leaky(chips: Path, tmp_path: Path) -> Path:
    """The chips with one file cut off and one taught photograph again in the test."""
    folder = tmp_path / "leaky"
    shutil.copytree(chips, folder)
    first, second = sorted((folder / "train" / "good").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:500])
    shutil.copyfile(second, folder / "test" / "good" / "again.png")
    return folder


def test_audit_tells_the_gravest_first_and_what_comes_next(leaky: Path, tmp_path: Path, run: Run):
    result = run("audit", leaky, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{leaky}: 25 photographs, 2 errors")
    assert lines[2] == "Files that cannot be read: 1 (error)" and "is cut off after 500 bytes" in lines[3]
    assert "is the same content as test/good/again.png (TEST)" in result.stdout
    assert lines[-1].startswith("Next: open that page; flawscope audit ") and "--fix" in lines[-1]
    for name in ("audit.html", "audit.json", "audit.csv"):
        assert (tmp_path / "out" / name).is_file()
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_audit_as_json_with_a_fix_that_train_can_read(leaky: Path, tmp_path: Path, run: Run):
    result = run("audit", leaky, "--out", tmp_path / "out", "--fix", "--alpha", "0.1", "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["images"] == 25 and values["alpha"] == 0.1 and values["severities"]["error"] == 2
    assert values["kinds"]["broken_file"] == values["kinds"]["leak_copy"] == 1
    assert values["changes"]["leave out"] >= 2
    looked = json.loads(run("data", values["manifest"], "--json").stdout)
    assert looked["error"] is None and looked["broken"] == []
    quick = ("--budget", "96", "--folds", "2", "--threads", "1", "--set", "settings.bank=64")
    taught = run("train", "--data", values["manifest"], "--out", tmp_path / "run", *quick)
    assert taught.exit_code == 0, taught.stderr


def test_audit_fails_where_asked_to(chips: Path, leaky: Path, tmp_path: Path, run: Run):
    out = ("--out", tmp_path / "out")
    assert run("audit", leaky, *out, "--fail-on", "error").exit_code == 10
    assert run("audit", chips, *out, "--fail-on", "error").exit_code == 0
    assert run("audit", chips, *out, "--alpha", "0.01", "--fail-on", "warning").exit_code == 10  # few parts
    assert run("audit", chips, *out, "--alpha", "2").exit_code == 2
    assert run("audit", tmp_path / "absent", *out).exit_code == 4
