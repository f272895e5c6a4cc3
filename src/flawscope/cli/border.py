"""The process border: whatever goes wrong inside a command becomes a sentence and an exit code, no traceback.

Text goes to stderr. Where `--json` was asked for, stdout gets `{"error": {...}}` on one line as well.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from flawscope.core.errors import FlawscopeError

INTERNAL = 1
STOPPED = 130
_USAGE: Any = typer.BadParameter.__base__  # what typer itself raises for a call that is wrong


class Commands(TyperGroup):
    """The group of all commands, with the border around them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether JSON was asked for, before anything can go wrong."""
        ours = args[: args.index("--")] if "--" in args else args
        ctx.meta["flawscope.json"] = "--json" in ours
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named and turn every failure into words and an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            code = _tell(ctx, "stopped", "Stopped. Nothing half-written was left.", STOPPED)
        except FlawscopeError as error:
            _trace(ctx)
            code = _tell_known(ctx, error)
        except BrokenPipeError:  # whoever reads us has stopped reading; what is left has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = INTERNAL
        except OSError as error:
            _trace(ctx)
            code = _tell(ctx, "system", f"The system refused: {error}.", INTERNAL)
        except Exception as error:
            if isinstance(error, _USAGE):
                if ctx.meta["flawscope.json"]:
                    _json_error("usage", error.format_message())
                raise
            _trace(ctx)
            text = f"{type(error).__name__}: {error}"
            code = _tell(
                ctx,
                "internal",
                f"Something is wrong inside flawscope ({text}). Please report it with what "
                "flawscope --debug COMMAND prints.",
                INTERNAL,
            )
        raise typer.Exit(code)


def in_lines(error: FlawscopeError) -> str:
    """Write an error for people: what, then what was expected and found, then what to do, a line each."""
    lines = [f"Error: {error.subject.rstrip('.')}."]
    for word, text in (("expected", error.expected), ("found", error.found)):
        if text:
            lines.append(f"  {word}: {text.rstrip('.')}")
    if error.remedy:
        lines.append(f"  {error.remedy.rstrip('.')}{'' if error.remedy.endswith('?') else '.'}")
    return "\n".join(lines)


def error_json(error: FlawscopeError) -> dict[str, str]:
    """Return an error as the documented JSON."""
    return {
        "code": error.code,
        "message": str(error),
        "subject": error.subject,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }


def _tell_known(ctx: Any, error: FlawscopeError) -> int:
    typer.echo(in_lines(error), err=True)
    if ctx.meta["flawscope.json"]:
        typer.echo(json.dumps({"error": error_json(error)}))
    return error.exit_code


def _tell(ctx: Any, code: str, message: str, exit_code: int) -> int:
    typer.echo(message, err=True)
    if ctx.meta["flawscope.json"]:
        _json_error(code, message)
    return exit_code


def _json_error(code: str, message: str) -> None:
    typer.echo(json.dumps({"error": {"code": code, "message": message}}))


def _trace(ctx: Any) -> None:
    if ctx.meta.get("flawscope.debug"):
        typer.echo(traceback.format_exc(), err=True)
