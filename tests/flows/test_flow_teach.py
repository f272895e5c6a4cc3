"""Incremental teaching: as a refit, refused where it must be, and nobody in two roles."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawscope import Inspector
from flawscope.core.errors import BundleError, DataError, FlawscopeError, LeakError, UsageError
from flawscope.core.types import CalibrationMode, Preprocess, Role, Sample
from flawscope.data.manifest import manifest_for, read_manifest
from flawscope.flows.drift import begin
from flawscope.flows.relimit import Move, relimit
from flawscope.flows.teach import Taught, teach
from flawscope.flows.teach_samples import TeachSettings
from flawscope.runtime.bundle import open_bundle

AT = "2026-01-02T03:04:05+00:00"
HELD_OUT = {"calibrate": "split", "calibrate_share": 0.5, "alpha": 0.1, "review_alpha": 0.2}
OWN = {
    "patchcore": {"bank": 60, "candidates": 2000, "components": 12, "smoothing": 4.0},
    "padim": {"components": 8},
    "dfm": {"kept": 0.9},
}
every_method = pytest.mark.parametrize("method", sorted(OWN))
Parts = Callable[..., Path]


@pytest.fixture
def taught(train_tiny: Any, parts: Parts, tmp_path: Path) -> Callable[..., Path]:
    """A function that trains on forty parts, twenty of them held out; returns the bundle's path."""

    def train(method: str = "patchcore", **settings: Any) -> Path:
        wishes = HELD_OUT | {"method": method, "settings": OWN[method]} | settings
        return Path(train_tiny(parts(40), out=tmp_path / "run", **wishes).bundle.path)

    return train


@pytest.fixture
def grow(tiny_settings: dict[str, Any], tmp_path: Path) -> Callable[..., Taught]:
    """A function that teaches a bundle a folder: grow(model, folder, out=..., **settings)."""

    def taught(model: Path, add: Path, *, out: str = "grown.flaw", **settings: Any) -> Taught:
        wishes = TeachSettings(add, backbone=tiny_settings["backbone"], **settings)
        return teach(model, wishes, tmp_path / out, at=AT, threads=1)

    return taught


@every_method
def test_a_grown_bundle_is_whole(taught: Any, grow: Any, parts: Parts, tmp_path: Path, method: str) -> None:
    model = taught(method)
    before = open_bundle(model)
    found = grow(model, parts(12, folder=tmp_path / "more", start=300))
    after = Inspector.open(found.bundle.path, threads=1)  # golden sample and digests are checked
    contents = after.bundle.contents
    assert contents.parent == before.id == found.parent and contents.graph != before.contents.graph
    assert found.added == 12 and found.calibrated == 20 == contents.calibration.parts
    assert contents.calibration.version == 2 and contents.calibration.mode is CalibrationMode.SPLIT
    assert found.promise.bound is not None and found.promise.sentences[0].startswith("Promise")
    assert len(contents.seen.sha256[Role.FIT]) == 32 and contents.counts["fit"] == 32
    assert contents.environment["taught"][0]["photographs"] == 12
    told = read_manifest(manifest_for(found.bundle.path))
    assert sum(sample.role is Role.FIT for sample in told) == 32
    again = grow(found.bundle.path, parts(4, folder=tmp_path / "yet", start=400), out="third.flaw")
    assert again.bundle.contents.parent == after.bundle.id and again.calibrated == 20
    assert again.bundle.size_bytes < 1.1 * found.bundle.size_bytes  # the state does not grow


@pytest.fixture
def context(golden_maker: Any, tmp_path: Path) -> Any:
    from flawscope.methods.contract import FitContext
    from flawscope.runtime.backbone import read

    backbone = read(golden_maker.tiny_backbone(tmp_path / "tiny.onnx"))
    card = backbone.card
    preprocess = Preprocess((64, 64), mean=card.mean, std=card.std)
    return FitContext(backbone, preprocess, threads=1)


def samples(folder: Path) -> tuple[Sample, ...]:
    return tuple(Sample(p.name, p.as_posix(), "good") for p in sorted(folder.rglob("*.png")))


def made(method: str) -> Any:
    from flawscope.core.config import build
    from flawscope.core.registry import methods

    entry = methods[method]
    return entry.method(build(entry.method.Config, OWN[method], where=method))


def run(graph: Any, context: Any, members: tuple[Sample, ...]) -> np.ndarray:
    from flawscope.imaging.preprocess import to_canvases
    from flawscope.imaging.read import read
    from flawscope.runtime.session import GraphSession

    session = GraphSession(graph, threads=1)
    found = []
    for sample in members:
        canvas = to_canvases(read(sample.path), context.preprocess)
        found.append(session.run(canvas.pixels, canvas.content_xyxy)["map"].ravel())
    return np.stack(found)


def test_padim_equals_a_refit_with_its_projection(context: Any, parts: Parts, tmp_path: Path) -> None:
    from flawscope.methods.contract import FitData
    from flawscope.methods.padim import _by_position

    first, second = samples(parts(20)), samples(parts(10, folder=tmp_path / "more", start=300))
    method = made("padim")
    learnt = method.learn(FitData(first), context)
    grown = method.grow(learnt.state, FitData(second), context)
    store = context.features(method._config.embedding)
    projection = (learnt.state["matrix"], learnt.state["offset"])
    sums = _by_position((*first, *second), store, context, projection)
    refit = method._of_sums(projection, sums, context)
    np.testing.assert_allclose(
        run(grown.model, context, first), run(refit, context, first), rtol=2e-3, atol=2e-3
    )
    assert grown.state["photographs"] == [30]


def test_dfm_equals_a_refit(context: Any, parts: Parts, tmp_path: Path) -> None:
    """Of all parts at once, whatever was taught first and in how many steps."""
    from flawscope.methods.contract import FitData
    from flawscope.methods.teaching import from_bytes, to_bytes

    first, second = samples(parts(20)), samples(parts(10, folder=tmp_path / "more", start=300))
    unseen = samples(parts(6, folder=tmp_path / "unseen", start=500))
    method = made("dfm")
    state = method.learn(FitData(first), context).state
    for step in (second[:3], second[3:]):
        grown = method.grow(from_bytes(to_bytes(state)), FitData(step), context)
        state = grown.state
    refit = method.learn(FitData((*first, *second)), context)
    half = method.fit(FitData(first), context)
    maps = [run(model, context, unseen) for model in (grown.model, refit.model, half)]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-4 * maps[1].max())
    assert np.abs(maps[2] - maps[1]).max() > 0.01 * maps[1].max()  # or nothing was learnt


def test_an_older_dfm_is_refused_with_the_reason(context: Any, parts: Parts, tmp_path: Path) -> None:
    from flawscope.methods.contract import FitData

    data = FitData(samples(parts(4)))
    method = made("dfm")
    state = dict(method.learn(data, context).state)
    state["place_sum"] = state.pop("place_total")
    with pytest.raises(DataError, match="older") as caught:
        method.grow(state, data, context)
    assert caught.value.code == "old_teaching_state" and "Train anew" in caught.value.remedy


def test_patchcore_is_near_a_refit(context: Any, parts: Parts, tmp_path: Path) -> None:
    from flawscope.methods.contract import FitData

    first, second = samples(parts(20)), samples(parts(10, folder=tmp_path / "more", start=300))
    method = made("patchcore")
    grown = method.grow(method.learn(FitData(first), context).state, FitData(second), context)
    assert len(grown.state["bank"]) == OWN["patchcore"]["bank"]
    refit = method.fit(FitData((*first, *second)), context)
    unseen = samples(parts(10, folder=tmp_path / "unseen", start=500))
    scores = [run(found, context, unseen).max(1) for found in (grown.model, refit)]
    assert abs(np.median(scores[0] / scores[1]) - 1) < 0.15  # a bank of sixty patches is a coarse one


@every_method
def test_learning_gives_the_graph_of_fitting(context: Any, parts: Parts, method: str) -> None:
    from flawscope.methods.contract import FitData

    data = FitData(samples(parts(8)))
    learnt = made(method).learn(data, context)
    assert learnt.model.SerializeToString() == made(method).fit(data, context).SerializeToString()
    for array in learnt.state.values():
        assert array.dtype != object and np.isfinite(array).all()


@every_method
def test_another_product_is_refused(
    taught: Any, grow: Any, chips_folder: Path, tmp_path: Path, method: str
) -> None:
    with pytest.raises(DataError, match="do not explain") as caught:
        grow(taught(method), chips_folder / "train" / "good")
    assert caught.value.code == "unexplained" and "times" in caught.value.found
    assert not (tmp_path / "grown.flaw").exists()


@pytest.mark.real
@pytest.mark.slow
def test_cookies_are_no_tiles(magnetic_tiles: Path, cookies: Path, tmp_path: Path) -> None:
    """The bundled backbone, real photographs of two products."""
    import flawscope

    tiles = sorted(magnetic_tiles.glob("MT_Free/Imgs/*.jpg"))[:50]
    for path in tiles:
        place = tmp_path / "tiles" / ("first" if path in tiles[:40] else "more") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    found = flawscope.train(
        tmp_path / "tiles" / "first", out=tmp_path / "run", settings={"budget": 128}, threads=1
    )
    pictures = sorted(cookies.glob("training-images/*.jpg"))[:10]
    (tmp_path / "cookies").mkdir()
    for path in pictures:
        shutil.copy(path, tmp_path / "cookies" / path.name)
    with pytest.raises(DataError, match="do not explain"):
        teach(found.bundle.path, TeachSettings(tmp_path / "cookies"), tmp_path / "x.flaw", at=AT)
    more = TeachSettings(tmp_path / "tiles" / "more")
    assert teach(found.bundle.path, more, tmp_path / "y.flaw", at=AT).added == 10


def test_folds_keep_their_ranks_and_say_so(taught: Any, grow: Any, parts: Parts, tmp_path: Path) -> None:
    model = taught(calibrate="folds", folds=3)
    found = grow(model, parts(6, folder=tmp_path / "more", start=300))
    calibration = found.bundle.contents.calibration
    assert found.calibrated == 0 and calibration.taught_since == 6 and found.promise.bound is None
    assert any("6 photographs were taught after" in one for one in found.promise.sentences)
    assert "more ordinary parts are needed" in (watch := begin(found.bundle)).sentence() or watch.parts == 0
    again = grow(
        found.bundle.path,
        parts(6, folder=tmp_path / "yet", start=400),
        calibrate=parts(20, folder=tmp_path / "drawn", start=600),
        out="third.flaw",
    )
    assert again.bundle.contents.calibration.mode is CalibrationMode.SPLIT and again.calibrated == 20
    assert again.promise.bound is not None and again.bundle.contents.calibration.taught_since == 0
    assert any("no longer folds" in one for one in again.warnings)


def test_new_calibration_parts_join_the_old(taught: Any, grow: Any, parts: Parts, tmp_path: Path) -> None:
    model = taught()
    added = parts(4, folder=tmp_path / "more", start=300)
    found = grow(model, added, calibrate=parts(10, folder=tmp_path / "drawn", start=600))
    assert found.calibrated == 30 == found.bundle.contents.calibration.parts
    assert len(found.bundle.contents.seen.sha256[Role.CALIBRATE]) == 30


def test_calibration_photographs_must_be_there(taught: Any, grow: Any, parts: Parts, tmp_path: Path) -> None:
    model = taught()
    added = parts(4, folder=tmp_path / "more", start=300)
    alone = tmp_path / "elsewhere" / "model.flaw"
    alone.parent.mkdir()
    shutil.copy(model, alone)
    with pytest.raises(DataError) as caught:
        grow(alone, added)
    assert caught.value.code == "calibration_missing"
    roles = {Path(s.path).name: s.role for s in read_manifest(model.parent / "manifest.jsonl")}
    held = tmp_path / "held"
    held.mkdir()
    for path in (tmp_path / "parts").rglob("*.png"):
        if roles[path.name] is Role.CALIBRATE:
            shutil.copy(path, held)
    assert grow(alone, added, calibrate=held).calibrated == 20  # found by their digests


def test_nobody_has_two_roles(taught: Any, grow: Any, parts: Parts, mixed: Any, tmp_path: Path) -> None:
    model = taught()
    listed = read_manifest(model.parent / "manifest.jsonl")
    held = next(Path(s.path) for s in listed if s.role is Role.CALIBRATE)
    known = next(Path(s.path) for s in listed if s.role is Role.FIT)
    fresh = parts(3, folder=tmp_path / "more", start=300)
    for name, path in (("held", held), ("known", known)):
        (tmp_path / name).mkdir()
        shutil.copy(path, tmp_path / name / "a.png")
    with pytest.raises(LeakError, match="cannot serve as FIT"):
        grow(model, tmp_path / "held")
    with pytest.raises(LeakError, match="cannot serve as CALIBRATE"):
        grow(model, fresh, calibrate=tmp_path / "known")
    with pytest.raises(LeakError, match="two roles"):
        grow(model, fresh, calibrate=fresh)
    with pytest.raises(DataError, match="nothing new"):
        grow(model, tmp_path / "known")
    with pytest.raises(LeakError, match="TEST"):
        grow(model, mixed(2, 1, folder=tmp_path / "lab" / "test", start=700).parent)
    assert not (tmp_path / "grown.flaw").exists()


def test_bad_parts_do_not_teach(taught: Any, grow: Any, mixed: Any, tmp_path: Path) -> None:
    found = grow(taught(), mixed(5, 2, folder=tmp_path / "judged", start=300))
    assert found.added == 5 and "not labelled good" in found.warnings[0]


def test_what_cannot_learn_on_says_so(
    taught: Any, grow: Any, parts: Parts, tiny_settings: Any, tmp_path: Path
) -> None:
    model = taught(teaching=False)
    added = parts(3, folder=tmp_path / "more", start=300)
    assert open_bundle(model).contents.teaching == b""
    with pytest.raises(BundleError) as caught:
        grow(model, added)
    assert caught.value.code == "no_teaching_state"
    with pytest.raises(FlawscopeError):
        grow(Path(__file__).resolve().parents[1] / "golden" / "tiny.flaw", added)
    whole = taught()
    with pytest.raises(UsageError):
        teach(whole, TeachSettings(added), whole, at=AT)
    with pytest.raises(FlawscopeError):  # the bundled backbone is another one
        teach(whole, TeachSettings(added, backbone="bundled"), tmp_path / "x.flaw", at=AT)


def test_moved_limits_go_back_to_the_ranks(taught: Any, grow: Any, parts: Parts, tmp_path: Path) -> None:
    model = taught()
    moved = tmp_path / "moved.flaw"
    relimit(open_bundle(model), Move("Kim", "coarser grain", ng=9.0), moved, at=AT)
    found = grow(
        moved, parts(3, folder=tmp_path / "more", start=300), manifest=model.parent / "manifest.jsonl"
    )
    assert found.bundle.contents.calibration.limit_ng is None
    assert any("by rank again" in one for one in found.warnings)
    assert found.bundle.contents.calibration.version == 3
