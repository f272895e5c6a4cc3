"""Tuning: the settings of a method that tell good from bad best, judged on SELECT alone.

Optuna proposes, by its tree-structured Parzen estimator, what lies within the spans that the method declares;
the first trial is always the settings as they were given, so that what is found is never worse on SELECT.
Every trial is written down at once: a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from flawscope import __version__
from flawscope.core import digest, extras
from flawscope.core.config import Span, as_values, build, setting
from flawscope.core.errors import FlawscopeError, UsageError
from flawscope.core.progress import Progress, Silent
from flawscope.core.search import Dimension, dimensions, joined, nested
from flawscope.core.types import Array, Metric
from flawscope.flows.lesson import Lesson, Tools, lesson
from flawscope.flows.settings import TrainSettings
from flawscope.flows.tune_panel import Panel, Shown, panel_for, with_flaw
from flawscope.methods.contract import FitData
from flawscope.metrics import ranking
from flawscope.runtime.reading import read_ahead
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

JOURNAL = "study.journal"
_ROUGH = 4  # a network's first look takes this part of its steps
_LEAST_STEPS = 100  # networks of fewer steps are taught in one go
_PERFECT = 1 - 1e-9


class Aim(StrEnum):
    """What settings are chosen for."""

    AUROC = "auroc"
    AP = "ap"
    RECALL = "recall"


@dataclass(frozen=True)
class TunePlan:
    """How long is tried, and what for."""

    budget: int = setting(20, unit="trials", low=1, high=100_000, help="How many settings are tried.")
    aim: Aim = setting(
        Aim.AUROC, help="What is raised: the ranking, its precision, or recall at alpha false alarms."
    )
    minutes: float = setting(0.0, unit="minutes", low=0, help="No trial begins after these; 0: no limit.")
    prune: bool = setting(True, help="Gives a trial up that is below the median half-way.")


@dataclass(frozen=True)
class Trial:
    """What was tried and what came of it."""

    number: int
    status: str  # ok, pruned (given up half-way) or failed
    value: float | None  # of the aim; None unless ok
    changed: Mapping[str, Any]  # settings that differ from those given
    seconds: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Tuned:
    """The best settings found, and how sure that is."""

    best: Trial
    trials: tuple[Trial, ...]
    settings: Mapping[str, Any]  # for flawscope train --config
    given: Mapping[str, Any]  # what is tuned, with the values that it had
    gain: Metric  # over the settings as given, on the same photographs
    panel: Panel
    found_before: int  # trials of earlier runs that were not repeated
    ended: str  # budget, time, or perfect: nothing is left to gain on SELECT

    @property
    def first(self) -> Trial:
        """The trial of the settings as given."""
        return next(trial for trial in self.trials if not trial.changed)


@dataclass(frozen=True, eq=False)
class _Course:
    """What every trial of one run shares."""

    given: TrainSettings
    lesson: Lesson
    panel: Panel
    plan: TunePlan
    space: tuple[Dimension, ...]
    optuna: Any

    @property
    def name(self) -> str:
        """The study's name: what decides a trial's outcome beside what is tried."""
        values = {**as_values(self.given), "aim": self.plan.aim, "version": __version__}
        values |= {"split": self.lesson.prepared.split.digest, "shown": len(self.panel.shown)}
        values["space"] = [[each.name, repr(each.values)] for each in self.space]
        return digest.of_value(values)[:16]

    def config(self, changed: Mapping[str, Any]) -> Any:
        """Return the method's configuration with these changes. Raises ConfigError where they do not fit."""
        values = joined(self.given.settings, nested(changed))
        return build(self.lesson.entry.method.Config, values, where=self.lesson.entry.name)

    def value(self, scores: Array) -> float:
        """Return the aim of scores of the first photographs of the panel."""
        is_bad = self.panel.is_bad[: len(scores)]
        if self.plan.aim is Aim.AP:
            found = ranking.average_precision(scores, is_bad)
        elif self.plan.aim is Aim.RECALL:
            found = ranking.recall_at_false_alarms(scores, is_bad, self.given.alpha)
        else:
            found = ranking.auroc(scores, is_bad)
        assert found.value is not None  # the panel holds good and bad
        return found.value

    def taught(self, config: Any) -> Scorer:
        """Teach the method with this configuration."""
        context = replace(self.lesson.context, progress=Silent())
        data = FitData((*self.panel.taught, *self.panel.bad), self.panel.select)
        graph = self.lesson.entry.method(config).fit(data, context).SerializeToString(deterministic=True)
        return Scorer(GraphSession(graph, threads=context.threads), context.preprocess)

    def scores(self, scorer: Scorer, shown: tuple[Shown, ...]) -> Array:
        """Return the scores of photographs. Raises FlawscopeError for one that is no number."""
        found = []
        paths = [one.sample.path for one in shown]
        for one, loaded in zip(shown, read_ahead(paths, scorer.preprocess), strict=True):
            image = loaded.required()
            if one.flaw is not None:
                image = with_flaw(image, one.flaw, area=scorer.preprocess.area, seed=self.panel.seed)
            found.append(scorer(image)[0].score)
        if not np.isfinite(found).all():
            raise FlawscopeError("The model's scores are no numbers", remedy="Try a shorter learning rate")
        return np.array(found, np.float64)


def tune(
    given: TrainSettings,
    plan: TunePlan,
    out: Path,
    *,
    tools: Tools | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Try settings of a method within its declared spans and return the best on SELECT; `out` keeps the
    journal of trials, from which a later call goes on. What `given.settings` holds stays as it is.

    Raises what training raises, UsageError where nothing is left to tune, and MissingExtraError without
    optuna.
    """
    optuna = extras.require("optuna", extra="tune", purpose="Tuning")
    progress = progress or Silent()
    began = time.monotonic()
    held = lesson(given, tools or Tools(), progress=progress)
    space = dimensions(held.config, fixed=given.settings)
    if not space:
        raise UsageError(
            f"Nothing of {held.entry.name} is left to tune",
            found="every setting that is tuned is given a value",
            remedy="Leave some out of --set and the configuration",
        )
    course = _Course(given, held, panel_for(held, seed=given.seed), plan, space, optuna)
    out.mkdir(parents=True, exist_ok=True)
    with _quiet():
        study = _open(course, out / JOURNAL)
        before = len(_finished(study))
        ended = _run(course, study, progress, until=began + 60 * plan.minutes if plan.minutes else None)
        return _summary(course, study, before, ended)


def _open(course: _Course, journal: Path) -> Any:
    """Open the study; what a killed run left unfinished is put in line again."""
    optuna = course.optuna
    from optuna.storages.journal import JournalFileBackend

    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal))),
        study_name=course.name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5) if course.plan.prune else None,
    )
    if not study.trials:
        study.enqueue_trial({each.name: each.default for each in course.space})
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _finished(study: Any) -> list[Any]:
    """Return the trials that came to an end; one that a kill broke off did not."""
    return [trial for trial in study.trials if "seconds" in trial.user_attrs and trial.state.is_finished()]


def _run(course: _Course, study: Any, progress: Progress, *, until: float | None) -> str:
    """Try settings until the budget or the time is spent, or nothing is left to gain; return which."""
    optuna = course.optuna
    space = {each.name: _distribution(optuna, each) for each in course.space}
    with progress.stage("Trying", course.plan.budget) as stage:
        stage.advance(min(len(_finished(study)), course.plan.budget))
        while True:
            done = _finished(study)
            if any(trial.value is not None and trial.value >= _PERFECT for trial in done):
                return "perfect"
            if len(done) >= course.plan.budget:
                return "budget"
            if until is not None and done and time.monotonic() >= until:
                return "time"
            study.sampler = optuna.samplers.TPESampler(
                seed=course.given.seed + len(study.trials),  # taken up again, it does not repeat itself
                n_startup_trials=min(10, max(4, course.plan.budget // 4)),
            )
            _try(course, study, study.ask(space))
            stage.advance()


def _try(course: _Course, study: Any, trial: Any) -> None:
    """Carry one trial out and write down what came of it."""
    start = time.perf_counter()
    states = course.optuna.trial.TrialState
    twin = next((t for t in _finished(study) if t.params == trial.params and t.value is not None), None)
    if twin is not None:
        trial.set_user_attr("scores", twin.user_attrs["scores"])
        trial.set_user_attr("reason", f"as trial {twin.number}")
        trial.set_user_attr("seconds", 0.0)
        study.tell(trial, twin.value)
        return
    try:
        scores = _scores_of(course, trial)
    except FlawscopeError as error:
        trial.set_user_attr("reason", str(error))
        trial.set_user_attr("seconds", time.perf_counter() - start)
        study.tell(trial, state=states.FAIL)
        return
    trial.set_user_attr("seconds", time.perf_counter() - start)
    if scores is None:
        trial.set_user_attr("reason", "below the median half-way")
        study.tell(trial, state=states.PRUNED)
        return
    trial.set_user_attr("scores", [float(value) for value in scores])
    study.tell(trial, course.value(scores))


def _scores_of(course: _Course, trial: Any) -> Array | None:
    """Return the scores of the whole panel, or None for a trial that is given up at a first look: after a
    part of a network's steps, or after half of the photographs."""
    config = course.config(trial.params)
    shown = course.panel.shown
    training = getattr(config, "training", None)
    first: Array | None = None
    if course.plan.prune and training is not None and training.steps >= _LEAST_STEPS:
        rough = replace(config, training=replace(training, steps=training.steps // _ROUGH))
        trial.report(course.value(course.scores(course.taught(rough), shown)), 0)
        if trial.should_prune():
            return None
    scorer = course.taught(config)
    if course.plan.prune and training is None:
        half = len(shown) - len(shown) // 2
        first = course.scores(scorer, shown[:half])
        trial.report(course.value(first), 0)
        if trial.should_prune():
            return None
        return np.concatenate([first, course.scores(scorer, shown[half:])])
    return course.scores(scorer, shown)


def _distribution(optuna: Any, each: Dimension) -> Any:
    """Return a dimension as Optuna knows it."""
    if not isinstance(each.values, Span):
        return optuna.distributions.CategoricalDistribution(each.values)
    if each.whole:
        return optuna.distributions.IntDistribution(
            int(each.values.low), int(each.values.high), log=each.values.ratio
        )
    return optuna.distributions.FloatDistribution(each.values.low, each.values.high, log=each.values.ratio)


def _summary(course: _Course, study: Any, before: int, ended: str) -> Tuned:
    """Return what the study holds."""
    done = _finished(study)
    trials = tuple(_as_trial(course, one) for one in done)
    scored = [trial for trial in trials if trial.value is not None]
    if not scored:
        raise UsageError(
            "None of the settings that were tried could be taught",
            found=trials[0].reason if trials else "no trial",
        )
    best = max(scored, key=lambda trial: (trial.value, -trial.number))
    scores = {one.number: one.user_attrs.get("scores") for one in done}
    first = next((trial.number for trial in scored if not trial.changed), None)
    if first is None:
        gain = Metric(None, reason="the settings as given could not be taught")
    else:
        gain = ranking.paired_gain(
            np.array(scores[first]),
            np.array(scores[best.number]),
            course.panel.is_bad,
            measure=course.plan.aim.value,
            rate=course.given.alpha,
        )
    settings = _changed_settings(course.given)
    settings["settings"] = joined(course.given.settings, nested(best.changed))
    given = {each.name: each.default for each in course.space}
    return Tuned(best, trials, settings, given, gain, course.panel, min(before, len(done)), ended)


def _as_trial(course: _Course, one: Any) -> Trial:
    states = course.optuna.trial.TrialState
    status = {states.COMPLETE: "ok", states.PRUNED: "pruned"}.get(one.state, "failed")
    changed = {each.name: one.params[each.name] for each in course.space if each.name in one.params}
    changed = {
        each.name: changed[each.name]
        for each in course.space
        if each.name in changed and changed[each.name] != each.default
    }
    value = one.value if status == "ok" else None
    attributes = one.user_attrs
    return Trial(one.number, status, value, changed, attributes["seconds"], attributes.get("reason", ""))


def _changed_settings(given: TrainSettings) -> dict[str, Any]:
    """Return the settings of a run that differ from the defaults, and data and method always."""
    values = as_values(given)
    default = as_values(TrainSettings())
    names = [field.name for field in fields(TrainSettings) if field.name != "settings"]
    return {
        name: values[name] for name in names if name in ("data", "method") or values[name] != default[name]
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling every step on stderr: what people should know is told by whoever called."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
