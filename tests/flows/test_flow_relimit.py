"""Bundles with moved limits, and two bundles side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worlds import World

from flawscope import Inspector
from flawscope.core.errors import DataError, LeakError, UsageError
from flawscope.core.types import Verdict
from flawscope.data.leaks import Seen
from flawscope.flows.evaluate import EvaluateSettings
from flawscope.flows.relimit import Move, Reviewed, judge_reviewed, now_at, relimit, score_set
from flawscope.flows.side_by_side import before_after, side_by_side
from flawscope.runtime.bundle import open_bundle, seal

AT = "2026-01-02T03:04:05+00:00"
KIM = {"who": "Kim", "why": "coarser grain"}
HELD_OUT = {"calibrate": "split", "calibrate_share": 0.5, "alpha": 0.1, "review_alpha": 0.2}


@pytest.fixture
def judged(mixed: Callable[..., Path], tmp_path: Path) -> Path:
    """Photographs that people have judged: none of them taught, none a test part."""
    return mixed(8, 5, folder=tmp_path / "judged", start=200)


@pytest.fixture
def opened(train_tiny: Any, parts: Callable[..., Path]) -> Inspector:
    return Inspector.open(train_tiny(parts(40), **HELD_OUT).bundle.path, threads=1)


def test_a_moved_limit_is_a_bundle_of_its_own(opened: Inspector, judged: Path, tmp_path: Path) -> None:
    scored, remarks = judge_reviewed(opened, judged)
    assert scored is not None and len(scored) == 18 and remarks == ()
    highest = float(scored.scores.max()) + 1
    out = tmp_path / "v2.flaw"
    found = relimit(opened.bundle, Move(**KIM, ng=highest), out, at=AT, reviewed=scored)
    again = Inspector.open(out, threads=1)
    contents = again.bundle.contents
    assert contents.parent == opened.bundle.id != again.bundle.id == found.bundle.id
    assert contents.graph == opened.bundle.contents.graph and again.thresholds.ng == highest
    assert contents.calibration.change is not None and contents.calibration.change.who == "Kim"
    assert "by hand, Kim: coarser grain" in contents.card
    assert found.after.false_alarms.value == 0 and found.after.not_ng.value == 1
    assert {one.before for one in found.turned} == {Verdict.NG}
    third = relimit(again.bundle, Move(**KIM, by_rank=True), tmp_path / "v3.flaw", at=AT)
    assert third.bundle.contents.calibration.version == 3
    assert third.after.ng == opened.thresholds.ng


def test_a_limit_by_cost_rests_on_reviewed_parts(opened: Inspector, judged: Path, tmp_path: Path) -> None:
    scored, _ = judge_reviewed(opened, judged)
    move = Move(**KIM, cost_escape=50, cost_overkill=1, bad_share=0.01)
    found = relimit(opened.bundle, move, tmp_path / "v2.flaw", at=AT, reviewed=scored)
    assert found.words.startswith("Estimate, no promise") and found.after.not_ng.value == 0
    assert now_at(found.bundle).ng == found.after.ng
    with pytest.raises(DataError):
        relimit(opened.bundle, move, tmp_path / "v3.flaw", at=AT)


def test_who_why_and_one_way_are_asked_for(opened: Inspector, tmp_path: Path) -> None:
    for move in (
        Move("", "why", ng=1.0),
        Move("Kim", " ", ng=1.0),
        Move(**KIM),
        Move(**KIM, ng=1.0, alpha=0.1),
    ):
        with pytest.raises(UsageError):
            relimit(opened.bundle, move, tmp_path / "v2.flaw", at=AT)
    with pytest.raises(UsageError):
        relimit(opened.bundle, Move(**KIM, ng=1.0), opened.bundle.path, at=AT)
    assert not (tmp_path / "v2.flaw").exists()


def test_test_parts_and_taught_parts_move_no_limit(opened: Inspector, mixed: Any, tmp_path: Path) -> None:
    folder = mixed(2, 1, folder=tmp_path / "lab" / "test", start=300)
    with pytest.raises(LeakError):
        judge_reviewed(opened, folder.parent)
    rows = [Reviewed("a", "1" * 64, "good", 1.0), Reviewed("b", "2" * 64, "dent", 2.0)]
    with pytest.raises(LeakError):
        score_set(rows, Seen({}, {}, {}), tested={"2" * 64})
    taught = next(iter(next(iter(opened.bundle.contents.seen.sha256.values()))))
    known, remarks = score_set([dataclasses.replace(rows[0], sha256=taught)], opened.bundle.contents.seen)
    assert known is None and "left out" in remarks[0]


def test_two_bundles_side_by_side(split_world: World, tmp_path: Path) -> None:
    before = Inspector.open(split_world.model, threads=1)
    path = tmp_path / "v2.flaw"
    relimit(before.bundle, Move(**KIM, ng=0.0, review=0.0), path, at=AT)
    after = Inspector.open(path, threads=1)
    paths = [str(one) for one in split_world.pictures()]
    found = side_by_side(before, after, paths)
    assert all(pair.verdicts[1] == "NG" for pair in found.pairs)
    apart = found.disagreements()
    assert apart and {pair.verdicts[0] for pair in apart} <= {"OK", "REVIEW"}
    gaps = [pair.verdicts[0] for pair in apart]
    assert gaps == sorted(gaps)  # OK against NG comes before REVIEW against NG
    assert sum(sum(row.values()) for row in found.table.values()) == len(paths)
    assert len(found.to_json()["disagreements"]) == len(apart)


def test_before_and_after_on_the_test_part(split_world: World, tmp_path: Path) -> None:
    before = Inspector.open(split_world.model, threads=1)
    path = tmp_path / "v2.flaw"
    relimit(before.bundle, Move(**KIM, ng=0.0, review=0.0), path, at=AT)
    after = Inspector.open(path, threads=1)
    settings = EvaluateSettings(data=split_world.data, pixels=False)
    found = before_after(before, after, settings)
    assert found.good.images == found.bad.images == 8 and found.bad.worse == 0
    assert found.good.worse == sum(
        pair.verdicts[0] != "NG" for pair in found.compared.pairs if pair.label == "good"
    )
    assert found.auroc_gain.value == 0 and "newly called NG" in found.words[1]
    assert found.to_json()["before"]["bundle_id"] == before.bundle.id

    contents = open_bundle(path).contents
    from flawscope.core.digest import of_file
    from flawscope.core.types import Role

    shown = of_file(split_world.pictures("test/good/*.png")[0])
    seen = Seen({Role.FIT: frozenset({shown})}, {}, {})
    seal(path, dataclasses.replace(contents, seen=seen))
    with pytest.raises(LeakError):
        before_after(before, Inspector.open(path, threads=1), settings)
