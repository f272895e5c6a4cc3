"""Watching a line: photographs and records, the scene in the bundle, a state that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import SMALL, World

import flawscope
from flawscope import Inspector
from flawscope.core.errors import DataError
from flawscope.core.types import Image
from flawscope.flows.drift import begin, looks_of, resume, state_of, watch_paths, watch_records
from flawscope.imaging.read import read
from flawscope.runtime.bundle import open_bundle
from flawscope.runtime.scenery import Scenery
from flawscope.synth.write import write_chips

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chips of the same design as `world`'s: good ones to teach, defective ones, another light, another
    layout."""
    folder = tmp_path_factory.mktemp("shifted") / "chips"
    write_chips(folder, good=30, bad=16, size_wh=(128, 96), seed=3, shifts=32)
    return folder


@pytest.fixture(scope="module")
def line(shifted: Path, tmp_path_factory: pytest.TempPathFactory) -> Inspector:
    out = tmp_path_factory.mktemp("line")
    taught = flawscope.train(shifted / "train" / "good", out=out, settings=SMALL, threads=1)
    return Inspector.open(taught.bundle.path, threads=1)


def paths(folder: Path, pattern: str) -> list[str]:
    return [str(path) for path in sorted(folder.glob(pattern))]


def kinds(line: Inspector, stream: list[str]) -> list[set[str]]:
    found = watch_paths(line, begin(line.bundle), stream)
    return [{effect.kind for effect in one.unlike} for one in found]


def test_light_and_layout_are_named_and_flaws_are_not(line: Inspector, shifted: Path) -> None:
    ordinary = kinds(line, paths(shifted, "test/*/*.png"))  # defective ones, and good ones of other lots
    assert sum(map(bool, ordinary)) <= 2 and not any(one & {"layout", "focus"} for one in ordinary)
    lighting = kinds(line, paths(shifted, "shift/lighting/*.png"))
    assert sum(bool(one & {"light", "colour"}) for one in lighting) >= 15
    assert not any("layout" in one for one in lighting)
    layouts = kinds(line, paths(shifted, "shift/layout/*.png"))
    assert sum("layout" in one for one in layouts) >= 13
    assert sum("light" in one for one in layouts) <= 2


def test_the_scene_is_in_the_bundle(line: Inspector, tmp_path: Path) -> None:
    scenery = line.bundle.contents.scenery
    assert scenery is not None and scenery.fixed_view and scenery.role == "fit"
    again = open_bundle(line.bundle.path).contents.scenery
    assert again is not None and np.array_equal(again.values, scenery.values, equal_nan=True)
    assert Scenery.from_bytes(again.to_bytes()).to_bytes() == scenery.to_bytes()
    assert len(scenery.to_bytes()) < 15_000


def test_a_picture_of_nothing_has_no_place(line: Inspector) -> None:
    looks = looks_of(line.bundle, Image(np.full((96, 128, 3), 90, np.uint8)))
    assert np.isnan(looks["agreement"]) and np.isfinite(looks["light"])


def test_records_give_the_same_scores_as_photographs(line: Inspector, shifted: Path, tmp_path: Path) -> None:
    stream = paths(shifted, "test/good/*.png")
    file = tmp_path / "inspections.jsonl"
    lines = []
    for path in stream:
        looks = looks_of(line.bundle, read(path))
        lines.append(json.dumps(line(path).to_json() | {"looks": looks}))
    file.write_text("\n".join(lines) + "\n")
    by_record, by_photograph = begin(line.bundle), begin(line.bundle)
    list(watch_records(line.bundle, by_record, file))
    list(watch_paths(line, by_photograph, stream))
    assert by_record.to_json() == by_photograph.to_json()


def test_records_that_do_not_fit_are_refused(line: Inspector, tmp_path: Path) -> None:
    file = tmp_path / "inspections.jsonl"
    for text in ("no json", '{"score": "high"}', "[1]", '{"bundle_id": "another", "score": 1}'):
        file.write_text(text)
        with pytest.raises(DataError):
            list(watch_records(line.bundle, begin(line.bundle), file))


def test_a_state_belongs_to_its_bundle(line: Inspector, world: World, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    watch = resume(line.bundle, state)
    watch.add(1.0)
    state.write_text(json.dumps(state_of(line.bundle, watch)))
    assert resume(line.bundle, state).parts == 1
    with pytest.raises(DataError):
        resume(open_bundle(world.model), state)


def test_the_command(line: Inspector, shifted: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from flawscope.cli.app import app

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["drift", "--model", str(line.bundle.path), *map(str, arguments)])

    (tmp_path / "broken.png").write_bytes(b"nothing")
    state = tmp_path / "state.json"
    first = run(shifted / "test" / "good", tmp_path / "broken.png", "--state", state)
    assert first.exit_code == 0, first.output
    assert "ordinary parts are needed" in first.stdout and "1 part had no score" in first.output
    assert resume(line.bundle, state).parts == 16
    state.unlink()
    shift = ("--run-length", "100", "--fail-on", "drift")
    second = run(shifted / "shift" / "lighting", *shift)
    assert second.exit_code == 10 and "Light" in second.stdout, second.stdout
    told = json.loads(run(shifted / "shift" / "lighting", "--json").stdout)
    assert told["alarms"] and told["parts"] == 16 and len(told["unlike"]) >= 15
    assert run("a.jsonl", "b.jsonl").exit_code == 2
