"""The line: one score for one picture, however it comes, and nothing unjudged that becomes OK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World

from flawscope import Inspector
from flawscope.core.errors import BundleError, UsageError
from flawscope.core.types import Area, Fit, Image, Inspection, Merge, Verdict
from flawscope.decision.calibration import p_value
from flawscope.imaging.preprocess import tile_windows
from flawscope.imaging.read import read
from flawscope.runtime.bundle import Bundle
from flawscope.runtime.scene import Look, Scene, look_of
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

KEYS = [
    "path",
    "verdict",
    "error",
    "score",
    "p_value",
    "thresholds",
    "probabilities",
    "regions",
    "timings_ms",
    "bundle_id",
    "warnings",
]


@pytest.fixture(scope="module")
def inspector(world: World) -> Inspector:
    return Inspector.open(world.model, threads=1)


def _with(inspector: Inspector, **changes: object) -> Inspector:
    """Return an inspector with the same graph and another preprocessing."""
    contents = inspector.bundle.contents
    changed = replace(contents, preprocess=replace(contents.preprocess, **changes))  # type: ignore[arg-type]
    bundle = Bundle(inspector.bundle.id, inspector.bundle.path, inspector.bundle.size_bytes, changed)
    return Inspector(bundle, Scorer(GraphSession(contents.graph, threads=1), changed.preprocess))


def _same(one: Inspection, other: Inspection, *, near: float = 0.0) -> bool:
    """Whether two inspections say the same; with `near`, scores within that share of each other."""
    assert one.score is not None and other.score is not None
    assert one.map is not None and other.map is not None
    return (
        one.verdict is other.verdict
        and one.p_value == other.p_value
        and abs(one.score - other.score) <= near * abs(one.score)
        and bool(np.allclose(one.map, other.map, rtol=near, atol=near))
        and [region.box_xyxy for region in one.regions] == [region.box_xyxy for region in other.regions]
    )


def _fault_of(found: Inspection) -> str:
    assert found.verdict is None and found.error is not None
    assert found.score is None and found.p_value is None and found.map is None and not found.regions
    return found.error.code


def test_one_picture_gets_one_score_however_it_comes(inspector: Inspector, world: World) -> None:
    path = world.pictures()[3]
    expected = inspector(path)
    pixels = read(path).pixels
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    content = path.read_bytes()
    ways = [str(path), content, bytearray(content), memoryview(content), pixels, opaque, Image(pixels)]
    assert all(_same(expected, inspector(way)) for way in ways)
    assert _same(expected, next(inspector.inspect([str(path)])))
    assert not _same(expected, inspector(world.pictures()[4]))


def test_grey_and_16_bit_arrays_are_what_they_are_as_8_bit_colour(inspector: Inspector, world: World) -> None:
    grey = cv2.cvtColor(read(world.pictures()[0]).pixels, cv2.COLOR_RGB2GRAY)
    expected = inspector(np.dstack([grey] * 3))
    deep = inspector(grey.astype(np.uint16) * 257)
    assert _same(expected, inspector(grey)) and _same(expected, inspector(grey[..., None]))
    assert _same(expected, deep)
    assert any("16-bit data without levels" in warning for warning in deep.warnings)


def test_the_caller_s_array_stays_as_it_is(inspector: Inspector, world: World) -> None:
    pixels = read(world.pictures()[0]).pixels
    before = pixels.copy()
    pixels.setflags(write=False)
    inspector(pixels)
    assert (pixels == before).all()


@pytest.mark.parametrize("wrong", [None, 3, ["a.png"], {"path": "a.png"}])
def test_what_is_no_picture_at_all_is_refused(inspector: Inspector, wrong: object) -> None:
    with pytest.raises(UsageError, match="a path, a file's bytes"):
        inspector(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((9, 9), np.float32), "unsupported"),
        (np.zeros((9, 9, 2), np.uint8), "unsupported"),
        (np.zeros((0, 9, 3), np.uint8), "empty"),
    ],
)
def test_arrays_that_are_no_picture_are_not_judged(
    inspector: Inspector, array: np.ndarray, code: str
) -> None:
    assert _fault_of(inspector(array)) == code


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 2), (97, 128), (900, 30)])
def test_pictures_of_any_shape_are_judged_or_named(inspector: Inspector, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    found = inspector(rng.integers(60, 180, (*shape, 3), dtype=np.uint8))
    assert (found.verdict is None) == (found.error is not None)
    if found.map is not None:
        assert np.isfinite(found.map).all() and found.size_hw == shape
        for region in found.regions:
            left, top, right, bottom = region.box_xyxy
            assert 0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]


def _broken(folder: Path, sound: Path) -> dict[str, str]:
    """Write files that cannot be judged; return their codes by path."""
    content = sound.read_bytes()
    dark = cv2.imencode(".png", np.full((96, 128, 3), 1, np.uint8))[1].tobytes()
    files = {
        "empty.png": (b"", "empty"),
        "text.png": (b"no picture, but words", "not_an_image"),
        "cut.png": (content[: len(content) // 2], "truncated"),
        "flipped.png": (content[:90] + bytes([content[90] ^ 8]) + content[91:], "corrupt"),
        "dark.png": (dark, "too_dark"),
    }
    codes = {(folder / "absent.png").as_posix(): "missing", folder.as_posix(): "missing"}
    for name, (written, code) in files.items():
        (folder / name).write_bytes(written)
        codes[(folder / name).as_posix()] = code
    return codes


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_batch_goes_on_past_broken_files_in_order(
    inspector: Inspector, world: World, tmp_path: Path, batch: int
) -> None:
    sound = [path.as_posix() for path in world.pictures()[:8]]
    codes = _broken(tmp_path, world.pictures()[0])
    paths = [path for pair in zip(sound, codes, strict=False) for path in pair]
    found = list(inspector.inspect(paths, batch=batch, workers=3))
    assert [one.path for one in found] == paths
    for one in found:
        assert (one.error.code if one.error else None) == codes.get(one.path)
        assert one.error is None or Path(one.path).name in one.error.message
        assert one.error is None or _fault_of(one)


def test_batches_give_what_single_calls_give(inspector: Inspector, world: World) -> None:
    paths = [path.as_posix() for path in world.pictures()]
    one_by_one = [inspector(path) for path in paths]
    single = list(inspector.inspect(paths))
    together = list(inspector.inspect(paths, batch=4, workers=1))
    assert all(_same(a, b) for a, b in zip(one_by_one, single, strict=True))
    # the graph's products are summed in another order for four pictures than for one
    assert all(_same(a, b, near=1e-4) for a, b in zip(one_by_one, together, strict=True))


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"workers": 0}])
def test_a_batch_of_nothing_is_refused(inspector: Inspector, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        list(inspector.inspect([], **wrong))


def test_an_abandoned_batch_ends(inspector: Inspector, world: World) -> None:
    stream = inspector.inspect([path.as_posix() for path in world.pictures()] * 50)
    assert next(stream).verdict is not None
    stream.close()  # type: ignore[attr-defined]


def test_threads_share_an_inspector(inspector: Inspector, world: World) -> None:
    paths = world.pictures() * 3
    expected = [inspector(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(inspector, paths))
    assert all(_same(a, b) for a, b in zip(expected, found, strict=True))


def test_another_process_gives_the_same_verdicts(inspector: Inspector, world: World) -> None:
    program = (
        "import json, sys; from flawscope import Inspector\n"
        "inspector = Inspector.open(sys.argv[1], threads=1)\n"
        "for path in sys.argv[2:]: sys.stdout.write(json.dumps(inspector(path).to_json()) + '\\n')"
    )
    paths = [path.as_posix() for path in world.pictures()[:6]]
    command = [sys.executable, "-c", program, str(world.model), *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    here = [inspector(path).to_json() for path in paths]
    for values in (*found, *here):
        values.pop("timings_ms")
    assert found == here


def test_the_json_has_the_documented_keys_and_is_json(
    inspector: Inspector, world: World, tmp_path: Path
) -> None:
    bad = next(found for path in world.pictures() if (found := inspector(path)).regions)
    values = bad.to_json()
    assert list(values) == KEYS and list(inspector(tmp_path / "absent.png").to_json()) == KEYS
    assert list(values["thresholds"]) == ["ng", "review", "pixel"]
    assert list(values["regions"][0]) == ["box_xyxy", "area_px", "peak", "mean"]
    assert list(values["timings_ms"]) == ["read", "preprocess", "graph", "map", "decide", "total"]
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    stages = [time for name, time in values["timings_ms"].items() if name != "total"]
    assert min(stages) >= 0 and values["timings_ms"]["total"] == pytest.approx(sum(stages), abs=0.01)
    assert list(inspector(tmp_path / "absent.png").to_json()["error"]) == ["code", "message"]


@pytest.fixture(scope="module")
def many(inspector: Inspector, split_world: World, world: World) -> list[tuple[Inspector, Inspection]]:
    """Verdicts of two bundles on the photographs and on versions of them with growing flaws."""
    other = Inspector.open(split_world.model, threads=1)
    pairs = []
    for path in world.pictures("*/*/*.png"):
        if "ground_truth" in path.parts:
            continue
        pixels = read(path).pixels
        for size in (0, 3, 9):
            changed = pixels.copy()
            changed[40 : 40 + size, 60 : 60 + size] = 255 - changed[40 : 40 + size, 60 : 60 + size]
            pairs += [(judge, judge(changed)) for judge in (inspector, other)]
    return pairs


def test_verdict_and_p_value_agree(many: list[tuple[Inspector, Inspection]]) -> None:
    seen = set()
    for judge, found in many:
        calibration = judge.bundle.contents.calibration
        assert found.p_value is not None and found.score is not None
        assert (found.verdict is Verdict.NG) == (found.p_value <= calibration.alpha)
        assert (found.verdict is Verdict.OK) == (found.p_value > calibration.review_alpha)
        assert found.p_value == p_value(calibration, found.score)
        seen.add(found.verdict)
    assert seen == set(Verdict) and len(many) > 200


def test_p_values_fall_as_scores_rise(many: list[tuple[Inspector, Inspection]]) -> None:
    first = many[0][0]
    ranked = sorted((found.score, found.p_value) for judge, found in many if judge is first)
    ranks = [rank for _, rank in ranked]
    assert ranks == sorted(ranks, reverse=True) and len(set(ranks)) > 5


def test_regions_lie_where_the_map_exceeds_the_pixel_limit(
    many: list[tuple[Inspector, Inspection]],
) -> None:
    for judge, found in many:
        assert found.map is not None
        over = found.map.max() > judge.thresholds.pixel
        assert bool(found.regions) == bool(over and found.verdict is not Verdict.OK)
        peaks = [region.peak for region in found.regions]
        assert peaks == sorted(peaks, reverse=True)
        assert not peaks or peaks[0] == pytest.approx(float(found.map.max()))


# --- what cannot be judged ---------------------------------------------------------------------------------


def test_dark_bright_and_empty_pictures_are_never_ok(inspector: Inspector, world: World) -> None:
    pixels = read(world.pictures()[0]).pixels.astype(np.float32)
    scene = inspector.bundle.contents.scene
    brightness, seen = pixels.mean(), {}
    for factor in np.geomspace(0.005, 60, 60):
        changed = np.clip(pixels * factor, 0, 255).astype(np.uint8)
        found, look = inspector(changed), look_of(changed)
        if look.brightness < 0.4 * scene.darkest:
            assert _fault_of(found) == "too_dark"
        elif 255 - look.brightness < 0.4 * (255 - scene.brightest):
            assert _fault_of(found) == "too_bright"
        seen[found.error.code if found.error else "judged"] = True
    flat = np.full((96, 128, 3), round(float(brightness)), np.uint8)
    assert _fault_of(inspector(flat)) == "featureless"
    assert set(seen) >= {"too_dark", "too_bright", "judged"}


def test_black_and_white_pictures_of_any_size_are_never_judged(inspector: Inspector) -> None:
    for size in ((1, 1), (96, 128), (2100, 40)):
        assert _fault_of(inspector(np.zeros((*size, 3), np.uint8))) == "too_dark"
        assert _fault_of(inspector(np.full((*size, 3), 255, np.uint8))) == "too_bright"


def test_somewhat_dark_or_bright_pictures_are_judged_with_a_warning() -> None:
    scene = Scene.of([Look(100, 40), Look(140, 50)])
    assert scene.check(Look(100, 40), name="a") == () == scene.check(Look(140, 20), name="a")
    assert "Darker (70)" in scene.check(Look(70, 40), name="a")[0]
    assert "Brighter (170)" in scene.check(Look(170, 40), name="a")[0]


@given(
    taught=st.lists(st.tuples(st.floats(0, 255), st.floats(0, 128)), min_size=1, max_size=5),
    share=st.floats(0, 1),
)
def test_no_scene_refuses_what_lies_among_the_taught(taught: list[tuple[float, float]], share: float) -> None:
    looks = [Look(*values) for values in taught]
    scene = Scene.of(looks)
    between = Look(
        min(look.brightness for look in looks) * (1 - share) + max(look.brightness for look in looks) * share,
        max(look.contrast for look in looks),
    )
    assert scene.check(between, name="picture") == ()
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


def test_a_graph_that_gives_no_number_stops_the_line(inspector: Inspector, world: World) -> None:
    class Broken(GraphSession):
        def run(
            self, pixels: np.ndarray, content_xyxy: np.ndarray, *, names: Sequence[str] = ()
        ) -> dict[str, np.ndarray]:
            values = super().run(pixels, content_xyxy, names=names)
            return values | {"score": np.full_like(values["score"], np.nan)}

    contents = inspector.bundle.contents
    broken = Inspector(inspector.bundle, Scorer(Broken(contents.graph, threads=1), contents.preprocess))
    with pytest.raises(BundleError, match=r"gave no number for .*test"):
        broken(world.pictures()[0])


# --- tiles -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(world: World) -> np.ndarray:
    """A picture of 600x500, put together from many."""
    rows = [np.hstack([read(path).pixels for path in world.pictures()[i : i + 5]]) for i in range(0, 6)]
    return np.ascontiguousarray(np.vstack(rows)[:500, :600])


def test_tiles_are_what_their_windows_are_alone(inspector: Inspector, large: np.ndarray) -> None:
    """The graph is put to each window by hand, and the windows' maps are laid over each other by hand."""
    tiled = _with(inspector, fit=Fit.TILES)
    found = tiled(large)
    preprocess = tiled.bundle.contents.preprocess
    height, width = preprocess.size_hw
    session = GraphSession(tiled.bundle.contents.graph, threads=1)
    heat, scores = np.full((500, 600), -np.inf, np.float32), []
    for left, top, right, bottom in tile_windows((500, 600), preprocess).tolist():
        assert (right - left, bottom - top) == (width, height)
        canvas = np.ascontiguousarray(large[top:bottom, left:right])[None]
        values = session.run(canvas, np.array([[0, 0, width, height]], np.float32))
        scores.append(float(values["score"][0]))
        place = heat[top:bottom, left:right]
        np.maximum(place, values["map"][0], out=place)
    assert len(scores) > 40 and np.isfinite(heat).all()
    assert found.score == pytest.approx(max(scores), rel=1e-5)
    assert found.map is not None and found.map.shape == (500, 600)
    np.testing.assert_allclose(found.map, heat, rtol=1e-4, atol=1e-5)


def test_a_picture_smaller_than_a_tile_is_one_padded_tile(inspector: Inspector, world: World) -> None:
    tiled = _with(inspector, fit=Fit.TILES)
    found = tiled(read(world.pictures()[0]).pixels[:40, :50])
    assert found.map is not None and found.map.shape == (40, 50)


def test_merging_by_mean_keeps_the_score_and_lowers_no_peak_above_the_highest(
    inspector: Inspector, large: np.ndarray
) -> None:
    highest = _with(inspector, fit=Fit.TILES)(large)
    mean = _with(inspector, fit=Fit.TILES, tile_merge=Merge.MEAN)(large)
    assert mean.score == highest.score
    assert mean.map is not None and highest.map is not None
    assert (mean.map <= highest.map * (1 + 1e-5)).all() and (mean.map < highest.map - 1e-3).any()


_LARGE_PICTURE = """
import resource, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from flawscope.core.types import Fit, Image
from flawscope.runtime.bundle import open_bundle
from flawscope.runtime.scorer import Scorer
from flawscope.runtime.session import GraphSession

def peak_mb():
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

contents = open_bundle(Path(sys.argv[1])).contents
preprocess = replace(contents.preprocess, fit=Fit.TILES, tile_overlap=0.0)
scorer = Scorer(GraphSession(contents.graph, threads=1), preprocess)
pixels = np.tile(np.random.default_rng(0).integers(0, 256, (500, 600, 3), dtype=np.uint8), (8, 10, 1))
scorer(Image(pixels[:300, :300].copy()))
before = peak_mb()
raw, _ = scorer(Image(pixels))
sys.stdout.write(f"{raw.map.shape[0]} {np.isfinite(raw.map).all()} {peak_mb() - before}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's highest memory so")
def test_memory_stays_bounded_for_large_pictures_in_tiles() -> None:
    """The map of 6000x4000 px takes 96 MB, twice that while it is finished; all tiles at once would take more
    than 1100 MB even with this tiny graph."""
    model = Path(__file__).resolve().parents[1] / "golden" / "tiny.flaw"
    command = [sys.executable, "-c", _LARGE_PICTURE, str(model)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows, finite, growth = ran.stdout.split()
    assert (rows, finite) == ("4000", "True")
    assert float(growth) < 400


# --- area and least area -----------------------------------------------------------------------------------


def _areas() -> Sequence[Area]:
    rows, columns = np.mgrid[:48, :64]
    return (
        Area((columns > 20) & (rows > 10)),
        Area((columns - 32) ** 2 + (rows - 24) ** 2 < 200),
        Area(rows % 9 != 3),
    )


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("value", [0, 255, None])
def test_pixels_that_are_not_judged_change_nothing(
    inspector: Inspector, world: World, fit: Fit, number: int, value: int | None
) -> None:
    area = _areas()[number]
    judge = _with(inspector, area=area, fit=fit)
    pixels = read(world.pictures()[5]).pixels
    height, width = pixels.shape[:2]
    rows = (2 * np.arange(height) + 1) * 48 // (2 * height)
    columns = (2 * np.arange(width) + 1) * 64 // (2 * width)
    ignored = ~area.judged[np.ix_(rows, columns)]
    changed = pixels.copy()
    other = np.random.default_rng(1).integers(0, 256, pixels.shape, dtype=np.uint8)
    changed[ignored] = other[ignored] if value is None else value
    one, two = judge(pixels), judge(changed)
    assert (pixels != changed).any() and one.verdict is not None
    assert (one.score, one.p_value, one.verdict, one.warnings) == (
        two.score, two.p_value, two.verdict, two.warnings,
    )  # fmt: skip
    assert one.map is not None and two.map is not None and (one.map == two.map).all()
    assert [region.to_json() for region in one.regions] == [region.to_json() for region in two.regions]
    assert not _same(one, judge(pixels[::-1].copy()))


def test_a_dark_part_is_noticed_though_what_is_ignored_is_bright(inspector: Inspector, world: World) -> None:
    area = _areas()[1]
    pixels = np.full((96, 128, 3), 255, np.uint8)
    inside = cv2.resize(area.judged.astype(np.uint8), (128, 96), interpolation=cv2.INTER_NEAREST) > 0
    pixels[inside] = 2
    assert _fault_of(_with(inspector, area=area)(pixels)) == "too_dark"


def test_a_least_area_leaves_regions_out_and_the_verdict_as_it_is(
    inspector: Inspector, many: list[tuple[Inspector, Inspection]], world: World
) -> None:
    contents = inspector.bundle.contents
    found = next((path, one) for path in world.pictures() if (one := inspector(path)).regions)
    path, whole = found
    smallest = min(region.area_px for region in whole.regions)
    for least, expected in ((smallest, len(whole.regions)), (96 * 128 + 1, 0)):
        bundle = replace(inspector.bundle, contents=replace(contents, min_area_px=least))
        judge = Inspector(bundle, Scorer(GraphSession(contents.graph, threads=1), contents.preprocess))
        less = judge(path)
        assert len(less.regions) == expected
        assert (less.verdict, less.score, less.p_value) == (whole.verdict, whole.score, whole.p_value)


# --- the look of a picture ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 9), cells=st.integers(1, 12))
def test_the_look_of_an_area_is_the_look_of_its_pixels(
    height: int, width: int, seed: int, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    judged = rng.random((cells, cells)) < 0.6
    judged[rng.integers(cells), rng.integers(cells)] = True
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows = np.floor((np.arange(height) + 0.5) * cells / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * cells / width).astype(int)
    shown = judged[np.ix_(rows, columns)]
    other = np.where(shown[..., None], pixels, 255 - pixels)
    look = look_of(pixels, Area(judged))
    assert look == look_of(other, Area(judged))
    if min(height, width) < 32 and shown.any():
        values = pixels[shown].astype(np.float64)
        assert look.brightness == pytest.approx(values.mean(), rel=1e-5)
        assert look.contrast == pytest.approx(values.mean(1).std(), rel=1e-3, abs=1e-3)
    assert look_of(pixels, Area(np.ones((cells, cells), bool))) == look_of(pixels)
