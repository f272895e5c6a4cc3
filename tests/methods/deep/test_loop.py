"""The training loop: resumed work ends as unbroken work, early stopping, schedules, several devices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from flawscope.core.errors import ConfigError
from flawscope.methods.contract import CHECKPOINTS, CURVES, FitContext, Workshop
from flawscope.methods.settings import Training

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.deep

from flawscope.methods.deep.canvases import drawn, load_canvases, load_levels  # noqa: E402
from flawscope.methods.deep.loop import Course, Watch, run, seeded  # noqa: E402


class Line(torch.nn.Module):
    """Fits a line, with dropout so that chance has a say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.dropout = torch.nn.Dropout(0.2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (self.layer(self.dropout(x))[:, 0] - y).square().mean()


@dataclass(frozen=True)
class Points:
    """Points of a plane; each draw may take a while."""

    pause: float = 0.0
    size: int = 8

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        time.sleep(self.pause)
        x = np.random.default_rng(step).standard_normal((self.size, 3)).astype(np.float32)
        return torch.from_numpy(x), torch.from_numpy(x @ np.array([1, -2, 3], np.float32))


def course(*, pause: float = 0.0, key: str = "a", **settings) -> Course:
    values = {"steps": 60, "batch": 8, "learning_rate": 0.05} | settings
    with seeded(0, "line"):
        line = Line()
    return Course("Fitting", line, Points(pause), Training(**values), {"key": key})


def weights(of: Course) -> np.ndarray:
    return of.objective.layer.weight.detach().numpy().copy()


@pytest.fixture
def here(context, tmp_path) -> FitContext:
    return replace(context, workshop=Workshop(folder=tmp_path, save_seconds=0))


def test_learns_and_writes_its_curve(here, tmp_path):
    one = course(steps=400, learning_rate=0.1)
    learnt = run(one, here)
    assert np.abs(weights(one) - [[1, -2, 3]]).max() < 0.7  # dropout shrinks it
    assert learnt.rows[-1]["loss"] < learnt.rows[0]["loss"] / 2
    lines = (tmp_path / CURVES / "fitting.csv").read_text().splitlines()
    assert lines[0] == "step,loss" and lines[-1].startswith("400,") and len(lines) == 201
    assert learnt.images_per_second > 0


def test_same_seed_same_weights_and_chance_outside_is_left_alone(here, context):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = course(), course()
    run(first, context)
    run(second, context)
    assert (weights(first) == weights(second)).all()
    assert torch.rand(1) == expected
    other = course()
    run(other, replace(context, seed=1))
    assert (weights(first) != weights(other)).any()


class Broken(Exception):
    pass


@dataclass(frozen=True)
class BreaksAt(Points):
    at: int = 30

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        if step == self.at:
            raise Broken
        return super().__call__(step)


def test_goes_on_where_it_stopped_and_ends_the_same(here, context):
    unbroken = course()
    run(unbroken, context)
    with pytest.raises(Broken):
        run(replace(course(), draw=BreaksAt()), here)
    resumed = course()
    with pytest.raises(Broken):  # the steps before are not taken again
        run(replace(resumed, draw=BreaksAt(at=31)), here)
    resumed = course()
    run(resumed, here)
    assert (weights(resumed) == weights(unbroken)).all()


def test_another_course_is_not_taken_up(here):
    run(course(), here)
    other = course(key="b")
    with pytest.raises(Broken):
        run(replace(other, draw=BreaksAt(at=0)), here)
    again = course(steps=61)
    with pytest.raises(Broken):
        run(replace(again, draw=BreaksAt(at=0)), here)
    done = course()
    run(replace(done, draw=BreaksAt(at=0)), here)  # nothing is left to do


def test_a_damaged_checkpoint_means_beginning_anew(here, tmp_path, caplog):
    run(course(), here)
    (place,) = (tmp_path / CHECKPOINTS).glob("*.pt")
    place.write_bytes(b"not a checkpoint")
    one, unbroken = course(), course()
    run(one, here)
    run(unbroken, replace(here, workshop=Workshop()))
    assert "begins anew" in caplog.text and (weights(one) == weights(unbroken)).all()


PROGRAM = """
import sys, numpy as np
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
from test_loop import course, weights, run, Workshop
from flawscope.core.types import Preprocess
from flawscope.methods.contract import FitContext
from flawscope.runtime.backbone import bundled
context = FitContext(bundled(), Preprocess(size_hw=(96, 128)), threads=1)
one = course(pause=0.03, steps=120)
run(one, replace(context, workshop=Workshop(folder=Path(sys.argv[1]), save_seconds=0.1)))
np.save(Path(sys.argv[1]) / "weights.npy", weights(one))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
def test_killed_in_mid_course_it_resumes_to_the_same_end(context, tmp_path):
    here = Path(__file__).parent
    program = PROGRAM.format(tests=str(here.parents[1]), here=str(here))
    line = [sys.executable, "-c", program, str(tmp_path)]
    running = subprocess.Popen(line)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"{CHECKPOINTS}/*.pt")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "weights.npy").exists()
    (place,) = tmp_path.glob(f"{CHECKPOINTS}/*.pt")
    reached = torch.load(place, weights_only=True)["steps"]
    assert 0 < reached < 120
    subprocess.run(line, check=True)
    unbroken = course(steps=120)
    run(unbroken, context)
    assert (np.load(tmp_path / "weights.npy") == weights(unbroken)).all()


def test_accumulated_batches_are_one_larger_batch(context):
    """Without dropout, two batches of eight step as one of sixteen does."""

    @dataclass(frozen=True)
    class Doubled(Points):
        def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
            halves = [Points()(2 * step), Points()(2 * step + 1)]
            return tuple(torch.cat(pair) for pair in zip(*halves, strict=True))

    halves, whole = course(accumulate=2), course()
    for one in (halves, whole):
        one.objective.dropout.p = 0.0
    run(halves, context)
    run(replace(whole, draw=Doubled()), context)
    np.testing.assert_allclose(weights(halves), weights(whole), atol=1e-5)


def test_schedule_warms_up_and_fades():
    from flawscope.methods.deep.loop import _rate

    settings = Training(steps=100, warmup=0.1)
    rates = [_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == 1 and rates[-1] < 0.01
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert {_rate(Training(schedule="constant"), step) for step in (0, 500, 999)} == {1.0}


def test_stops_when_nothing_gets_better_and_keeps_the_best(here):
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.5])
    accuracies = iter([0.1, 0.2, 0.9, 0.3, 0.3, 0.3])
    seen = []

    def look(objective):
        seen.append(objective.layer.weight.detach().clone())
        return {"loss": next(losses), "accuracy": next(accuracies)}

    one = replace(course(), watch=Watch(look, every=5, patience=2))
    learnt = run(one, here)
    assert learnt.steps == 25 and len(seen) == 5  # better at looks 1, 2 and 3, then twice not
    assert torch.equal(learnt.best["best_loss"]["layer.weight"], seen[1])
    assert torch.equal(learnt.best["best_accuracy"]["layer.weight"], seen[2])
    again = run(replace(course(), watch=Watch(look, every=5, patience=2)), here)
    assert again.steps == 25 and len(seen) == 5  # taken up, it knows that it had stopped
    assert torch.equal(again.best["best_loss"]["layer.weight"], seen[1])


def test_a_loss_that_is_no_number_is_said(context):
    with pytest.raises(ConfigError, match="no number any more at step"):
        one = course()
        one.objective.layer.weight.data[:] = float("nan")
        run(one, context)


def test_a_device_that_is_not_there_is_said(context):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(ConfigError, match="no device 'cuda'"):
        run(course(), replace(context, workshop=Workshop(device="cuda")))


def test_two_processes_share_each_step(context):
    """Two processes with batches of eight step as one with batches of sixteen."""
    one = replace(course(steps=6), name="Together")
    one.objective.dropout.p = 0.0
    run(one, replace(context, workshop=Workshop(device="cpu", devices=2)))
    assert np.isfinite(weights(one)).all()
    alone = course(steps=6)
    alone.objective.dropout.p = 0.0
    run(replace(alone, draw=Pairs()), context)
    np.testing.assert_allclose(weights(one), weights(alone), atol=1e-5)


@dataclass(frozen=True)
class Pairs(Points):
    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        halves = [Points()(2 * step), Points()(2 * step + 1)]
        return tuple(torch.cat(pair) for pair in zip(*halves, strict=True))


def test_tensorboard_gets_the_curve(context, tmp_path):
    pytest.importorskip("tensorboard")
    run(course(steps=400), replace(context, workshop=Workshop(folder=tmp_path, tensorboard=True)))
    (events,) = (tmp_path / "tensorboard" / "fitting").iterdir()
    assert events.stat().st_size > 1000


def test_each_pass_draws_every_canvas_once():
    seen = np.concatenate([drawn(10, 4, step=step, seed=3) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert (drawn(10, 4, step=3, seed=3) == seen[12:16]).all()


def test_canvases_and_levels_are_those_of_the_line(context, chips, monkeypatch):
    from flawscope.methods.deep import canvases as module
    from flawscope.methods.features import Embedding, FeatureStore

    made = load_canvases(chips.fit[:5], context)
    levels = load_levels(made, context)
    assert made.pixels.shape == (5, 96, 128, 3) and [v.shape[1:] for v in levels.values] == [
        (128, 12, 16),
        (256, 6, 8),
    ]
    store = FeatureStore(context.backbone, context.preprocess, Embedding(False, 1), threads=1)
    for index, vectors, shown in store.stream(chips.fit[:5]):
        fine = levels.values[0][index].reshape(128, -1).T
        np.testing.assert_allclose(fine, vectors[:, :128], atol=2e-3)
        assert (shown == (levels.shares[index].reshape(-1) >= 0.5)).all()
    monkeypatch.setattr(module, "MEMORY_BYTES", 1000)  # beyond it they are kept in a file
    again = load_canvases(chips.fit[:5], context)
    assert isinstance(again.pixels, np.memmap) and (again.pixels == made.pixels).all()
    assert (load_levels(again, context).values[1] == levels.values[1]).all()
