"""The command `flawscope` and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from flawscope import __version__
from flawscope.cli.annotate import annotate
from flawscope.cli.audit import audit
from flawscope.cli.audit_log import audit_log
from flawscope.cli.border import Commands
from flawscope.cli.card import card
from flawscope.cli.compare import compare
from flawscope.cli.data import data
from flawscope.cli.demo import demo
from flawscope.cli.doctor import doctor
from flawscope.cli.drift import drift
from flawscope.cli.evaluate import evaluate
from flawscope.cli.explain import explain
from flawscope.cli.export import export
from flawscope.cli.inspect import inspect
from flawscope.cli.limits import limits
from flawscope.cli.methods import methods
from flawscope.cli.people import people
from flawscope.cli.pretrain import pretrain
from flawscope.cli.risk import risk
from flawscope.cli.serve import serve
from flawscope.cli.synth import synth
from flawscope.cli.teach import teach
from flawscope.cli.train import train
from flawscope.cli.tune import tune

# rich would cost a tenth of a second on every --help
app = typer.Typer(
    name="flawscope",
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def flawscope(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="FLAWSCOPE_DEBUG", help="Show where in the code an error comes from."),
    ] = False,
) -> None:
    """Photographs of parts into verdicts: OK, REVIEW or NG, with a stated false-alarm rate.

    Begin with: flawscope demo. Then: flawscope train --data YOUR_PHOTOGRAPHS
    """
    context.meta["flawscope.debug"] = debug
    if version:
        typer.echo(f"flawscope {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


COMMANDS = (
    train, teach, tune, inspect, serve, explain, risk, evaluate, limits, drift, compare, audit, annotate,
    data, synth, methods, demo, export, card, pretrain, doctor,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(people, name="people")
app.add_typer(audit_log, name="audit-log")
