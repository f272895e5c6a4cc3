"""Tuning: SELECT alone decides, the settings as given come first, killed runs go on, doubts are told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml

import flawscope
from flawscope.core.config import build
from flawscope.core.errors import ConfigError, DataError, UsageError
from flawscope.core.types import Image, Role, Sample
from flawscope.data.layouts import read_dataset
from flawscope.data.manifest import write_manifest
from flawscope.flows import tune as flow
from flawscope.flows.settings import TrainSettings, read_settings
from flawscope.flows.tune import Aim, TunePlan, tune
from flawscope.flows.tune_files import write_tuned
from flawscope.flows.tune_panel import with_flaw
from flawscope.methods.settings import Training

optuna = pytest.importorskip("optuna", reason="needs flawscope[tune]")


@pytest.fixture
def given(tiny_settings: dict[str, Any]) -> Callable[..., TrainSettings]:
    """A function that returns settings for a folder: given(data, **settings)."""

    def make(data: Path, **settings: Any) -> TrainSettings:
        values = {**tiny_settings, "data": str(data), "settings": {"candidates": 1000}} | settings
        return build(TrainSettings, values, where="settings")

    return make


@pytest.fixture
def labelled(mixed: Callable[..., Path], tmp_path: Path) -> Path:
    """A manifest: 14 good parts teach, 12 good and 12 bad choose, the rest calibrate and test."""
    folder = mixed(34, 8)
    samples = []
    dealt = {True: [Role.FIT] * 14 + [Role.SELECT] * 12 + [Role.CALIBRATE] * 4 + [Role.TEST] * 4}
    dealt[False] = [Role.SELECT] * 12 + [Role.TEST] * 4
    found = sorted(read_dataset(folder).samples, key=lambda sample: sample.id[::-1])
    for sample in found:
        samples.append(replace(sample, role=dealt[sample.is_good].pop(0)))
    write_manifest(folder / "roles.jsonl", samples)
    return folder / "roles.jsonl"


@pytest.fixture
def judged() -> Any:
    """Records the photographs whose scores decide."""
    with mock.patch.object(flow, "read_ahead", wraps=flow.read_ahead) as spy:
        yield spy


def paths_of(spy: Any) -> set[str]:
    return {path for call in spy.call_args_list for path in call.args[0]}


def test_select_decides_and_nothing_else_is_looked_at(labelled, given, tmp_path, judged):
    tuned = tune(given(labelled), TunePlan(budget=6), tmp_path / "out")
    roles: dict[Role, list[Sample]] = {}
    for sample in read_dataset(labelled).samples:
        assert sample.role is not None
        roles.setdefault(sample.role, []).append(sample)
    assert paths_of(judged) == {sample.path for sample in roles[Role.SELECT]}
    assert {sample.id for sample in tuned.panel.taught} == {sample.id for sample in roles[Role.FIT]}
    assert tuned.panel.drawn == 0 and not tuned.panel.notes
    assert len(tuned.trials) == 6 or tuned.ended == "perfect"
    assert tuned.first.number == 0 and tuned.best.value >= tuned.first.value
    halves = np.array_split(tuned.panel.is_bad, 2)
    assert [half.sum() for half in halves] == [6, 6]


def test_what_is_found_is_what_train_takes(parts, given, tmp_path):
    data = parts(30)
    plan = TunePlan(budget=5, aim=Aim.AP)
    tuned = tune(given(data), plan, tmp_path / "out")
    path = write_tuned(tuned, plan, tmp_path / "out")
    values = read_settings(path)
    assert values["data"] == str(data) and values["settings"]["candidates"] == 1000
    assert tuned.best.changed.items() <= values["settings"].items()
    trained = flawscope.train(data, out=tmp_path / "run", settings=values, threads=1)
    assert trained.bundle.contents.settings == {**trained.bundle.contents.settings, **tuned.best.changed}
    told = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert told["best"] == tuned.best.number and len(told["trials"]) == len(tuned.trials)
    rows = list(csv.DictReader((tmp_path / "out" / "trials.csv").read_text("utf-8").splitlines()))
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in tuned.trials]
    assert float(rows[0]["top_share"]) == 0.01 and "candidates" not in rows[0]
    assert yaml.safe_load(path.read_text())["method"] == "patchcore"


def test_flaws_are_drawn_where_there_are_no_defects(parts, given, tmp_path, judged):
    data = parts(30)
    tuned = tune(given(data), TunePlan(budget=2), tmp_path / "out")
    assert len(tuned.panel.taught) == 20 and tuned.panel.drawn == 40
    held = {Path(path).name for path in paths_of(judged)}
    assert held.isdisjoint({Path(sample.path).name for sample in tuned.panel.taught}) and len(held) == 10
    words = " ".join(tuned.panel.notes)
    assert "SELECT holds 0 good parts and 0 bad ones, too few to choose by: 10 photographs of FIT" in words
    assert "no labelled defect: 40 flaws drawn" in words and "what your defects look like" in words
    few = tune(given(data, seed=3), TunePlan(budget=1), tmp_path / "few")
    assert few.panel.seed == 3 and len(few.trials) == 1 and few.gain.value == 0


def test_a_drawn_flaw_is_the_same_each_time_and_lies_where_it_is_judged():
    image = Image(np.full((64, 96, 3), 120, np.uint8))
    first, again = (with_flaw(image, 3, area=None, seed=1) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels) and not np.array_equal(first.pixels, image.pixels)
    other = with_flaw(image, 3, area=None, seed=2)
    assert not np.array_equal(first.pixels, other.pixels)
    from flawscope.core.types import Area

    judged = np.zeros((2, 2), bool)
    judged[0, 0] = True
    for flaw in range(8):
        changed = (with_flaw(image, flaw, area=Area(judged), seed=1).pixels != image.pixels).any(2)
        assert changed.any() and not changed[32:].any() and not changed[:, 48:].any()


def test_what_is_set_is_not_tuned(parts, given, tmp_path):
    data = parts(30)
    fixed = {"bank": 50, "candidates": 1000}
    tuned = tune(given(data, settings=fixed), TunePlan(budget=4), tmp_path / "out")
    assert "bank" not in tuned.given and all("bank" not in trial.changed for trial in tuned.trials)
    assert tuned.settings["settings"]["bank"] == 50
    everything = fixed | dict(tuned.given)
    with pytest.raises(UsageError, match="Nothing of patchcore is left to tune"):
        tune(given(data, settings=everything), TunePlan(), tmp_path / "none")


def test_a_killed_run_goes_on_and_repeats_nothing(parts, given, tmp_path):
    data, out = parts(30), tmp_path / "out"
    real, calls = flow._scores_of, []

    def killed(course: Any, trial: Any) -> Any:
        calls.append(trial.params)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(course, trial)

    with mock.patch.object(flow, "_scores_of", killed), pytest.raises(KeyboardInterrupt):
        tune(given(data), TunePlan(budget=5), out)
    with mock.patch.object(flow, "_scores_of", wraps=real) as spy:
        tuned = tune(given(data), TunePlan(budget=5), out)
    again = [call.args[1].params for call in spy.call_args_list]
    assert len(again) == 3 and again[0] == calls[2]  # what was broken off is done first
    assert tuned.found_before == 2 and len(tuned.trials) == 5
    with mock.patch.object(flow, "_scores_of", wraps=real) as spy:
        same = tune(given(data), TunePlan(budget=5), out)
    assert not spy.called and same.trials == tuned.trials and same.found_before == 5
    with mock.patch.object(flow, "_scores_of", wraps=real) as spy:  # another question begins anew
        tune(given(data), TunePlan(budget=1, aim=Aim.RECALL), out)
    assert spy.call_count == 1


def test_a_trial_that_fails_is_told_and_the_others_go_on(parts, given, tmp_path):
    data = parts(30)
    real = flow._Course.config

    def config(course: Any, changed: Any) -> Any:
        if changed["neighbourhood"] != 3:
            raise ConfigError("neighbourhood does not fit here")
        return real(course, changed)

    with mock.patch.object(flow._Course, "config", config):
        tuned = tune(given(data), TunePlan(budget=8), tmp_path / "out")
    failed = [trial for trial in tuned.trials if trial.status == "failed"]
    assert failed and all(trial.value is None for trial in failed)
    assert failed[0].reason == "neighbourhood does not fit here."
    assert tuned.best.status == "ok"


def test_what_is_below_the_median_half_way_is_given_up(parts, given, tmp_path):
    data = parts(30)
    plan = TunePlan(budget=16)
    tuned = tune(given(data), plan, tmp_path / "out")
    whole = tune(given(data), replace(plan, prune=False), tmp_path / "whole")
    assert any(trial.status == "pruned" and trial.value is None for trial in tuned.trials)
    assert all(trial.status == "ok" for trial in whole.trials)
    assert tuned.first.value == whole.first.value


def test_it_ends_when_time_is_spent_or_nothing_is_left_to_gain(parts, given, tmp_path):
    data = parts(30)
    late = tune(given(data), TunePlan(budget=50, minutes=1e-6), tmp_path / "late")
    assert late.ended == "time" and len(late.trials) == 1

    def perfect(course: Any, trial: Any) -> Any:
        return course.panel.is_bad.astype(float)

    with mock.patch.object(flow, "_scores_of", perfect):
        done = tune(given(data), TunePlan(budget=50), tmp_path / "done")
    assert done.ended == "perfect" and len(done.trials) == 1 and done.gain.value == 0


def test_too_few_parts_are_no_ground_to_choose_on(parts, given, tmp_path):
    with pytest.raises(DataError, match="too few good parts to choose settings by"):
        tune(given(parts(8)), TunePlan(budget=1), tmp_path / "out")


def test_classifiers_are_judged_by_labelled_defects_alone(mixed, tiny_settings, tmp_path):
    def given(data: Path, **settings: Any) -> TrainSettings:
        values = {**tiny_settings, "data": str(data), "method": "linear", "settings": {"views": 1}}
        return build(TrainSettings, values | settings, where="settings")

    data = mixed(30, 30)
    tuned = tune(given(data), TunePlan(budget=2), tmp_path / "out")
    assert tuned.panel.drawn == 0
    fit = {sample.id for sample in (*tuned.panel.taught, *tuned.panel.bad)}
    shown = {one.sample.id for one in tuned.panel.shown}
    assert not fit & shown and sum(one.is_bad for one in tuned.panel.shown) >= 10
    assert "photographs of FIT are held out" in tuned.panel.notes[0] and len(tuned.panel.notes) == 1
    few = mixed(30, 6, folder=tmp_path / "few")
    with pytest.raises(DataError, match="too few labelled defects to choose settings of linear"):
        tune(given(few), TunePlan(budget=1), tmp_path / "none")


def test_among_equals_the_settings_as_given_win(parts, given, tmp_path):
    def alike(course: Any, trial: Any) -> Any:
        return np.arange(len(course.panel.shown), dtype=float)

    with mock.patch.object(flow, "_scores_of", alike):
        tuned = tune(given(parts(30)), TunePlan(budget=6), tmp_path / "out")
    assert len({trial.value for trial in tuned.trials}) == 1
    assert tuned.best is tuned.first and not tuned.best.changed and tuned.gain.value == 0


def test_a_network_gets_its_first_look_after_a_quarter_of_its_steps():
    shown = (object(),) * 4

    @dataclass(frozen=True)
    class Networked:
        training: Training

    def scores_of(*, prune: bool, given_up: bool, steps: int) -> tuple[Any, list[int]]:
        taught: list[int] = []
        course = SimpleNamespace(
            config=lambda changed: Networked(Training(steps=steps)),
            panel=SimpleNamespace(shown=shown),
            plan=TunePlan(prune=prune),
            taught=lambda config: taught.append(config.training.steps),
            scores=lambda scorer, photographs: np.zeros(len(photographs)),
            value=lambda scores: 0.5,
        )
        trial = SimpleNamespace(params={}, report=lambda value, step: None, should_prune=lambda: given_up)
        return flow._scores_of(course, trial), taught

    assert scores_of(prune=True, given_up=True, steps=400) == (None, [100])
    found, taught = scores_of(prune=True, given_up=False, steps=400)
    assert taught == [100, 400] and len(found) == 4
    assert scores_of(prune=False, given_up=True, steps=400)[1] == [400]
    assert scores_of(prune=True, given_up=True, steps=60)[1] == [60]  # too short to look twice
