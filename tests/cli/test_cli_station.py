"""`flawscope people` and `flawscope audit-log`, and `serve` as a process that stops well."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi", reason="needs flawscope[app]")

from flawscope.cli.app import app
from flawscope.store.store import Store

Run = Callable[..., Any]


def test_people_are_added_listed_and_given_passwords(tmp_path: Path, run: Run) -> None:
    store = tmp_path / "station"

    def said(*arguments: str, password: str) -> Any:
        return CliRunner().invoke(app, ["people", *arguments, "--store", str(store)], input=password + "\n")

    assert said("add", "kim", "--role", "admin", password="correct horse battery").exit_code == 0
    assert said("add", "kim", password="correct horse battery").exit_code == 9
    short = said("add", "lee", password="short")
    assert short.exit_code == 2 and "characters" in short.stderr
    assert said("password", "kim", password="another long password").exit_code == 0
    assert said("password", "nobody", password="another long password").exit_code == 9
    listed = json.loads(run("people", "list", "--store", store, "--json").stdout)
    assert [(one["name"], one["role"]) for one in listed] == [("kim", "admin")]
    assert "admin     kim" in run("people", "list", "--store", store).stdout


def test_the_audit_log_is_checked_with_exit_code_8(tmp_path: Path, run: Run) -> None:
    with Store(tmp_path / "s") as store:
        for number in range(3):
            store.audit.add("local:kim", "test", str(number))
    whole = run("audit-log", "verify", "--store", tmp_path / "s")
    assert whole.exit_code == 0 and "Audit chain holds: 3 entries." in whole.stdout
    head = json.loads(run("audit-log", "verify", "--store", tmp_path / "s", "--json").stdout)["head"]
    with Store(tmp_path / "s") as store, store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE seq = 3")
    cut = run("audit-log", "verify", "--store", tmp_path / "s", "--head", head)
    assert cut.exit_code == 8 and "lost entries at its end" in cut.stderr
    with Store(tmp_path / "s") as store, store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE audit SET who = 'x' WHERE seq = 1")
    broken = run("audit-log", "verify", "--store", tmp_path / "s", "--json")
    assert broken.exit_code == 8 and json.loads(broken.stdout)["error"]["code"] == "audit_chain"
    nowhere = run("audit-log", "verify", "--store", tmp_path / "nowhere")
    assert nowhere.exit_code == 8 and not (tmp_path / "nowhere").exists()


def test_a_station_for_everybody_needs_an_admin_first(tmp_path: Path, run: Run) -> None:
    result = run("serve", "--store", tmp_path / "s", "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 2 and "flawscope people add NAME --role admin" in result.stderr


def test_an_address_that_is_taken_is_said(tmp_path: Path, run: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--store", tmp_path / "s", "--port", port)
    assert result.exit_code == 2 and "--port" in result.stderr


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_station_says_where_it_is_and_stops_at_a_signal(
    tmp_path: Path, model: Path, chips: Path, environment: dict[str, str], with_signal: int
) -> None:
    command = [sys.executable, "-m", "flawscope", "serve", "--store", str(tmp_path / "s"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--model", str(model)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("On the line: ")
        address = process.stdout.readline().split()[1]
        content = next(chips.glob("test/*/*.png")).read_bytes()
        request = urllib.request.Request(
            f"{address}/api/inspect", content, {"content-type": "image/png"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["data"]["verdict"]
        process.send_signal(with_signal)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "Everything that was accepted is kept" in err, (out, err)
