"""`flawscope tune`: the settings of a method that tell good from bad best, chosen on SELECT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flawscope.cli import words
from flawscope.cli.options import (
    AsJson,
    Backbone,
    DataOrConfig,
    Device,
    GroupBy,
    Layout,
    Method,
    Product,
    Seed,
    Threads,
    WeightsDir,
)
from flawscope.cli.progress import progress

if TYPE_CHECKING:
    from flawscope.flows.tune import Trial, Tuned, TunePlan

_ROWS = 10  # trials that are spelled out


def tune(
    data: DataOrConfig = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where trials go; otherwise runs/NAME-tune.")
    ] = None,
    method: Method = None,
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="How many settings are tried, earlier runs included.")
    ] = 20,
    aim: Annotated[
        str, typer.Option("--aim", help="What is raised: auroc, ap, or recall at alpha false alarms.")
    ] = "auroc",
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="No trial begins after these; 0: no limit.")
    ] = 0.0,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Give a trial up that is below the median half-way.")
    ] = True,
    backbone: Backbone = None,
    weights_dir: WeightsDir = None,
    product: Product = None,
    layout: Layout = None,
    group_by: GroupBy = None,
    seed: Seed = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML or YAML file of settings; what it sets is not tuned."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=V", help="One setting, which is then not tuned; repeatable."),
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Try settings of a method on photographs kept apart for choosing, and write the best for train --config.

    Started again with the same settings, it goes on where it stopped.
    """
    from flawscope.cli.train import gathered
    from flawscope.core.config import build
    from flawscope.flows import tune as flow
    from flawscope.flows.lesson import Tools
    from flawscope.flows.settings import TrainSettings
    from flawscope.flows.tune_files import as_json as as_values
    from flawscope.flows.tune_files import write_tuned
    from flawscope.methods.contract import Workshop

    options: dict[str, Any] = {
        "data": None if data is None else str(data),
        "method": method,
        "backbone": backbone,
        "product": product,
        "layout": layout,
        "group_by": group_by,
        "seed": seed,
    }
    given = build(TrainSettings, gathered(config, assignments or [], options), where="settings")
    limits = {"budget": budget, "aim": aim, "minutes": minutes, "prune": prune}
    plan = build(flow.TunePlan, limits, where="tune")
    place = out or Path("runs") / f"{given.name or given.data.absolute().name}-tune"
    tools = Tools(weights_dir, threads, Workshop(device))
    with progress() as listener:
        tuned = flow.tune(given, plan, place, tools=tools, progress=listener)
    path = write_tuned(tuned, plan, place)
    if as_json:
        words.say_json(as_values(tuned, plan) | {"path": str(path)})
    else:
        tell(tuned, plan, path, name=place.name)


def tell(tuned: Tuned, plan: TunePlan, path: Path, *, name: str) -> None:
    """Print what was tried, what is best, how sure that is, and what comes next."""
    for note in tuned.panel.notes:
        words.remark(f"Note: {note}")
    good, bad = int((~tuned.panel.is_bad).sum()), int(tuned.panel.is_bad.sum())
    kind = "drawn flaws" if tuned.panel.drawn == bad else "bad ones"
    again = f", {tuned.found_before} of them in earlier runs" if tuned.found_before else ""
    words.sentence(
        f"{name}: {words.counted(len(tuned.trials), 'trial')}{again}, each taught "
        f"{len(tuned.panel.taught)} good photographs and judged by {good} others and {bad} {kind}."
    )
    scored = [trial for trial in tuned.trials if trial.value is not None]
    ranked = sorted(scored, key=lambda trial: (-(trial.value or 0.0), trial.number))[:_ROWS]
    first = [trial for trial in scored if not trial.changed and trial not in ranked]
    rows = [["trial", plan.aim.value, "s", "what differs"]]
    rows += [[str(t.number), f"{t.value:.4f}", f"{t.seconds:.1f}", differs(t)] for t in [*ranked, *first]]
    words.say(words.columns(rows, right=frozenset({0, 1, 2})))
    pruned = sum(trial.status == "pruned" for trial in tuned.trials)
    if pruned:
        words.say(f"{words.counted(pruned, 'trial')} given up half-way, below the median.")
    failed = [trial for trial in tuned.trials if trial.status == "failed"]
    words.remarks([f"trial {t.number} ({differs(t)}): {t.reason}" for t in failed], what="Failed")
    for sentence in conclusion(tuned, plan):
        words.sentence(sentence)
    words.say(f"{path}   {path.parent / 'trials.csv'}")
    words.say(f"Next: flawscope train --config {words.quoted(path)}")


def conclusion(tuned: Tuned, plan: TunePlan) -> list[str]:
    """Say what was found, how much better it is, and what that is worth."""
    said = []
    if not tuned.best.changed:
        said.append("Nothing that was tried is better than the settings as they were.")
    elif tuned.gain.value is None:
        said.append(f"How much better that is nobody knows: {tuned.gain.reason}.")
    else:
        low, high = tuned.gain.low or 0.0, tuned.gain.high or 0.0
        said.append(
            f"{plan.aim.value} {tuned.first.value:.4f} became {tuned.best.value:.4f}: "
            f"{tuned.gain.value:+.4f} (95 %: {low:+.4f} to {high:+.4f})."
        )
        said.append(
            "That may be chance: with so few photographs the difference can be none."
            if low <= 0
            else "The best of many tries looks better on SELECT than it is; the test part was not looked at."
        )
    if tuned.ended == "perfect":
        said.append("SELECT is told apart without a mistake: there is nothing left to choose by.")
    elif tuned.ended == "time":
        said.append("The time is spent; the same command goes on from here.")
    return said


def differs(trial: Trial) -> str:
    """Say what a trial changed."""
    return ", ".join(f"{name}={_shown(value)}" for name, value in trial.changed.items()) or "as given"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
