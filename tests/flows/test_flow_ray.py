"""On a Ray of two workers, one of which is killed: the same numbers, verdicts in order, nothing left."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flawscope.core.cells import Measuring, Outcome, Status
from flawscope.core.errors import BundleError, MissingExtraError, UsageError
from flawscope.core.extras import missing_modules
from flawscope.core.progress import Silent
from flawscope.flows import cluster as connection
from flawscope.flows.compare.cluster import Cluster, carried_out
from flawscope.flows.compare.engine import Cache, Limits, run
from flawscope.flows.compare.models import Model
from flawscope.flows.compare.planning import CompareSettings, Plan, code_digest, plan
from flawscope.flows.compare.processes import processes
from flawscope.flows.inspect_cluster import Judging, judged_on_cluster, told
from flawscope.runtime.inspector import Inspector

needs_ray = pytest.mark.skipif(bool(missing_modules("scale")), reason="needs flawscope[scale]")


def on_ray(test: Any) -> Any:
    """Mark a test that starts a Ray of its own."""
    marks = (
        needs_ray,
        pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc"),
        pytest.mark.services,
        pytest.mark.slow,
        pytest.mark.usefixtures("nothing_left"),
        # the settings of Ray Data warn of themselves when they are made
        pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    )
    for mark in marks:
        test = mark(test)
    return test


TIMES = {
    "fit_s",
    "processor_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "throughput",
    "fit_memory_mb",
    "memory_mb",
    "size_mb",
}


@pytest.fixture
def planned(mixed: Callable[..., Path], tiny_settings: dict[str, Any], tmp_path: Path) -> Callable[..., Plan]:
    """A function that plans a comparison of two models with two seeds on tiny parts."""
    own = tiny_settings["settings"]
    common = {name: value for name, value in tiny_settings.items() if name not in ("settings", "name")}

    def make(out: Path) -> Plan:
        models = (Model("patchcore", "patchcore", settings=own), Model("padim", "padim"))
        data = tmp_path / "mixed"
        chosen = CompareSettings(
            (data if data.is_dir() else mixed(30, 6),),
            models,
            seeds=2,
            run=common,
            measuring=Measuring(4, 1, 3, 6, 96),
        )
        return plan(chosen, out, progress=Silent())

    return make


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Sees to it that no process that was started in the test outlives it."""
    before = descendants(os.getpid())
    yield
    deadline = time.monotonic() + 60
    while left := descendants(os.getpid()) - before:
        assert time.monotonic() < deadline, [command(pid) for pid in left]
        time.sleep(0.2)


def command(pid: int) -> str:
    """Return a process's command line, or an empty text where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def parents() -> dict[int, int]:
    """Return every living process's parent; one that has ended and was not asked for is no process."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = place.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(place.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    """Return all processes below one."""
    known, found, left = parents(), set(), [pid]
    while left:
        above = left.pop()
        below = {child for child, parent in known.items() if parent == above}
        found |= below
        left += below
    return found


def killer(is_it: Callable[[int], bool], killed: list[int]) -> threading.Thread:
    """Return a thread that kills the first process below this one that is looked for."""

    def look() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            for pid in sorted(descendants(os.getpid())):
                if is_it(pid):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.05)

    return threading.Thread(target=look, daemon=True)


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Return everything of an outcome that is not a time, a size in memory or a date."""
    kept = {name: metric for name, metric in outcome.metrics.items() if name not in TIMES}
    return {
        "status": outcome.status,
        "metrics": kept,
        "per_defect": outcome.per_defect,
        "samples": outcome.samples,
    }


@on_ray
def test_cells_on_ray_give_the_same_numbers_though_a_worker_is_killed(
    planned: Callable[..., Plan], tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    expected = run(planned(here).cells, Cache(here), engine=processes, limits=Limits())

    def is_worker(pid: int) -> bool:
        """Whether a cell's own process runs below this worker of Ray."""
        known = parents()
        mine = [child for child, parent in known.items() if parent == pid]
        return "ray::" in command(pid) and any("flawscope.flows.compare.child" in command(c) for c in mine)

    killed: list[int] = []
    thread = killer(is_worker, killed)
    thread.start()
    found = run(planned(there).cells, Cache(there), engine=Cluster(), limits=Limits(jobs=2))
    thread.join(timeout=5)
    assert killed and not Path(f"/proc/{killed[0]}").exists()
    assert [one.reason for one in found] == [""] * 4
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.cell.key == theirs.cell.key and numbers(ours) == numbers(theirs)
    for outcome in found:
        folder = Cache(there).folder(outcome.cell)
        assert (folder / "model.flaw").is_file() and (folder / "report" / "report.html").is_file()
        assert all((folder / picture).is_file() for picture in outcome.pictures.values())
    assert not list((there / "unfinished").glob("*"))
    again = run(planned(there).cells, Cache(there), engine=Cluster("nowhere:1"), limits=Limits())
    assert [numbers(one) for one in again] == [numbers(one) for one in found]  # kept: no cluster is asked


@on_ray
def test_an_archive_on_ray_gets_the_same_verdicts_in_order_though_a_worker_is_killed(
    train_tiny: Callable[..., Any], mixed: Callable[..., Path], tmp_path: Path
) -> None:
    folder = mixed(60, 20)
    model = train_tiny(folder / "good", calibrate="folds").bundle.path
    (folder / "good" / "cut.png").write_bytes(next((folder / "good").glob("*.png")).read_bytes()[:60])
    paths = (
        sorted(str(path) for kind in ("good", "scratch", "blob") for path in (folder / kind).iterdir()) * 4
    )
    expected = list(Inspector.open(model, threads=1).inspect(paths))
    killed: list[int] = []
    thread = killer(lambda pid: "ray::" in command(pid) and "_Worker" in command(pid), killed)
    thread.start()
    found = list(judged_on_cluster(paths, Judging(model, maps=True)))
    thread.join(timeout=5)
    assert killed
    for ours, theirs in zip(expected, found, strict=True):
        same = replace(theirs, map=None, timings_ms=ours.timings_ms)
        assert same.to_json() == ours.to_json()
        assert (ours.map is None) == (theirs.map is None)
        assert ours.map is None or (ours.map == theirs.map).all()
    assert {one.verdict for one in found} > {None}


def test_a_machine_that_would_give_other_numbers_says_so(
    planned: Callable[..., Plan], tmp_path: Path
) -> None:
    cell = planned(tmp_path / "out").cells[0]
    values, files = carried_out(cell, Limits(), "another digest")
    assert (
        values["status"] == Status.FAILED and "another version of flawscope" in values["reason"] and not files
    )
    lost = replace(cell, manifest=str(tmp_path / "elsewhere.jsonl"))
    values, files = carried_out(lost, Limits(), code_digest())
    assert "does not find" in values["reason"] and "elsewhere.jsonl" in values["reason"] and not files


def test_without_ray_or_a_bundle_it_is_said(
    planned: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        next(judged_on_cluster(["a.png"], Judging(tmp_path / "none.flaw")))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"flawscope\[scale\]"):
        list(Cluster()(planned(tmp_path / "out").cells, Cache(tmp_path / "out"), Limits()))


def test_a_workers_failure_keeps_its_words() -> None:
    lost = RuntimeError("a worker died\n\nits node ran out of memory\n")
    assert told(lost).found == "its node ran out of memory" and told(lost).exit_code == 1
    own = RuntimeError("ray::_Worker()")
    own.cause = BundleError("model.flaw does not give its expected answer on this machine")  # type: ignore[attr-defined]
    assert told(own) is own.cause  # type: ignore[attr-defined]


@needs_ray
def test_a_cluster_that_is_not_there_is_named(planned: Callable[..., Plan], tmp_path: Path) -> None:
    import ray

    def unreachable(**options: Any) -> None:
        raise ConnectionError(f"no GCS at {options['address']}\nand more")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ray, "init", unreachable)
        with pytest.raises(UsageError) as caught, connection.on_cluster("10.0.0.5:6379", cpus=1, purpose="x"):
            raise AssertionError("there is no cluster")
    assert "10.0.0.5:6379" in str(caught.value) and caught.value.found.startswith("no GCS")
    assert not {"RAY_USAGE_STATS_ENABLED"} & os.environ.keys()
