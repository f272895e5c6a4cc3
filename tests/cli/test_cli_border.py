"""The border: quick help, errors in words and JSON, exit codes, completion; and the reference pages."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from flawscope.cli.app import app
from flawscope.cli.border import Commands
from flawscope.core import errors

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
HEAVY = ("numpy", "cv2", "onnx", "onnxruntime", "scipy", "sklearn", "rich", "yaml", "jinja2", "torch")


def test_help_is_quick_and_loads_nothing_heavy(environment: dict[str, str]):
    command = [sys.executable, "-X", "importtime", "-m", "flawscope", "--help"]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - start)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & set(HEAVY)
    assert "typer" in loaded and "Commands:" in done.stdout
    assert min(took) < 1.5  # 0.2 to 0.4 s on a machine of its own; the list of modules is the sharper check


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there(shell: str, environment: dict[str, str]):
    command = [sys.executable, "-m", "flawscope"]
    asked = environment | {"_FLAWSCOPE_COMPLETE": f"source_{shell}"}
    code = "import sys; sys.argv = ['flawscope']; from flawscope.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True)
    assert "flawscope" in done.stdout and done.returncode == 0, (command, done.stderr)


def test_a_wrong_call_has_exit_code_2_and_json_where_asked_for(run: Run):
    result = run("inspect", "--nonsense", "x", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "usage"
    assert run("nonsense").exit_code == 2
    assert run("--version").stdout.startswith("flawscope ")
    assert "Commands:" in run().stdout


def _failing(error: BaseException) -> typer.Typer:
    """A command line with the border of ours and a command that fails."""
    failing = typer.Typer(cls=Commands, rich_markup_mode=None, pretty_exceptions_enable=False)

    @failing.callback()
    def group(context: typer.Context, debug: bool = False) -> None:
        context.meta["flawscope.debug"] = debug

    @failing.command()
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:
        raise error

    return failing


KNOWN = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FlawscopeError)
]


@pytest.mark.parametrize("kind", KNOWN, ids=lambda kind: kind.__name__)
def test_every_error_becomes_lines_and_json_and_its_exit_code(kind: type[errors.FlawscopeError]):
    error = kind("A is wrong", expected="b", found="c", remedy="Do d")
    result = CliRunner().invoke(_failing(error), ["fail", "--json"])
    assert result.exit_code == kind.exit_code
    assert result.stderr == "Error: A is wrong.\n  expected: b\n  found: c\n  Do d.\n"
    assert json.loads(result.stdout)["error"] == {
        "code": kind.default_code,
        "message": str(error),
        "subject": "A is wrong",
        "expected": "b",
        "found": "c",
        "remedy": "Do d",
    }


@pytest.mark.parametrize(
    ("error", "code", "word", "exit_code"),
    [
        (RuntimeError("odd"), "internal", "Please report it", 1),
        (PermissionError(13, "denied", "x"), "system", "The system refused", 1),
        (KeyboardInterrupt(), "stopped", "Nothing half-written was left", 130),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_without_a_traceback(
    error: BaseException, code: str, word: str, exit_code: int
):
    result = CliRunner().invoke(_failing(error), ["fail", "--json"])
    assert result.exit_code == exit_code and json.loads(result.stdout)["error"]["code"] == code
    assert word in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(_failing(RuntimeError("odd")), ["--debug", "fail"])
    assert "Traceback" in result.stderr and "RuntimeError: odd" in result.stderr


def test_a_reader_that_stops_reading_is_no_error(chips: Path, model: Path, environment: dict[str, str]):
    command = [sys.executable, "-m", "flawscope", "inspect", "--model", str(model), str(chips), "--json"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **streams) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert b"Traceback" not in said and b"BrokenPipe" not in said


def sections(text: str) -> dict[str, str]:
    """Return the text below each second-level heading."""
    pieces = re.split(r"^## (.+)$", text, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _below(command: Any) -> list[Any]:
    """Return the commands of a group."""
    return list(getattr(command, "commands", {}).values())


def test_every_command_and_option_has_its_place_in_the_reference():
    group: Any = get_command(app)
    documented = sections(COMMANDS)
    assert {f"flawscope {name}" for name in group.commands} == {
        heading for heading in documented if heading.startswith("flawscope ")
    }
    for name, command in group.commands.items():
        text = documented[f"flawscope {name}"]
        params = [one for sub in (command, *_below(command)) for one in sub.params]
        flags = {max(option.opts, key=len) for option in params if option.opts[0].startswith("-")}
        headed = set(re.findall(r"^### `(--[a-z-]+)", text, flags=re.M))
        assert headed == flags, name
        for parameter in params:
            if parameter.param_type_name == "argument":
                assert f"### `{parameter.name.upper()}" in text, (name, parameter.name)


def _codes() -> set[str]:
    """Return every error code that the sources use: `code=` of a call, a class's default, the border's."""
    found = {kind.default_code for kind in KNOWN}
    for path in (ROOT / "src" / "flawscope").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "_tell",
                "_json_error",
                "_refusal",
            ):
                words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                found |= {word for word in words if re.fullmatch(r"[a-z_]+", str(word))}
    return found


def test_every_error_code_and_exit_code_is_documented():
    documented = set(re.findall(r"^### `([a-z_]+)`", ERRORS, flags=re.M))
    codes = _codes()
    assert {"truncated", "parity", "internal", "too_dark"} <= codes
    assert codes <= documented, codes - documented
    exits = {int(number) for number in re.findall(r"^\| (\d+) \|", ERRORS, flags=re.M)}
    assert exits == {0, 10, 11, 130} | {kind.exit_code for kind in KNOWN}
