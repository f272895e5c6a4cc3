"""supersimplenet: what its losses are, where its noise falls, and what labelled defects teach."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from quick import drawn_up

from flawscope.core.config import build
from flawscope.core.errors import DataError
from flawscope.core.registry import methods
from flawscope.core.types import Fit, Preprocess, Sample
from flawscope.imaging.read import read
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.features import geometry
from flawscope.methods.supersimplenet import SuperSimpleNet, SuperSimpleNetConfig
from flawscope.runtime.session import GraphSession
from flawscope.synth.textures import perlin_noise

torch = pytest.importorskip("torch")

from flawscope.methods.deep.canvases import Canvases, Levels, load_canvases, load_levels  # noqa: E402
from flawscope.methods.deep.export import Head, distance_graph  # noqa: E402
from flawscope.methods.deep.supersimplenet import (  # noqa: E402
    Lesson,
    Mixture,
    Network,
    Variant,
    Verdict,
    blots,
    focal,
    marred,
    mirrored,
    sizes,
    truncated,
)
from flawscope.methods.deep.truth import DEFECT, GOOD, UNKNOWN, Truth, load_truth, marked  # noqa: E402

pytestmark = pytest.mark.deep
QUICK = {"width": 32, "channels": 48, "noise": 0.5}


def config(**settings: object) -> SuperSimpleNetConfig:
    """Return settings that train in a second."""
    training = {"steps": 2, "batch": 4, "learning_rate": 3e-3} | settings.pop("training", {})
    return build(SuperSimpleNetConfig, QUICK | settings | {"training": training}, where="test")


@pytest.fixture(scope="module")
def defects(chips, tmp_path_factory) -> tuple[Sample, ...]:
    """Good chips with a dull square painted on, and the squares as masks."""
    folder = tmp_path_factory.mktemp("defects")
    samples = []
    for i, sample in enumerate(chips.fit[12:20]):
        pixels = read(sample.path).pixels.copy()
        mask = np.zeros(pixels.shape[:2], np.uint8)
        top, left = 24 + 4 * (i % 4), 32 + 8 * (i % 5)
        pixels[top : top + 16, left : left + 16] = pixels[top : top + 16, left : left + 16] // 2 + 30
        mask[top : top + 16, left : left + 16] = 255
        for name, values in (("chip", pixels[..., ::-1]), ("mask", mask)):
            cv2.imwrite(str(folder / f"{name}_{i}.png"), values)
        place = (folder / f"chip_{i}.png").as_posix()
        mask_place = (folder / f"mask_{i}.png").as_posix()
        samples.append(Sample(id=f"d{i}", path=place, label="square", mask_path=mask_place))
    return tuple(samples)


def test_losses_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    logits, weights = rng.normal(0, 2, (2, 3, 4)), rng.random((2, 3, 4))
    bad = (rng.random((2, 3, 4)) < 0.4).astype(float)
    sums = {0.0: [0.0, 0.0], 1.0: [0.0, 0.0]}
    hard = [0.0, 0.0]
    for value, side, weight in zip(logits.ravel(), bad.ravel(), weights.ravel(), strict=True):
        short = max(0.0, 0.5 - value if side else 0.5 + value)
        sums[side][0] += weight * short
        sums[side][1] += weight
        probability = 1 / (1 + math.exp(-value))
        right = probability if side else 1 - probability
        hard[0] += weight * (1 - right) ** 4 * -math.log(right)
        hard[1] += weight
    tensors = [torch.from_numpy(values) for values in (logits, bad, weights)]
    assert float(truncated(*tensors)) == pytest.approx(sum(a / b for a, b in sums.values()))
    assert float(focal(*tensors)) == pytest.approx(hard[0] / hard[1])
    nothing_bad = truncated(tensors[0], torch.zeros_like(tensors[1]), tensors[2])
    assert torch.isfinite(nothing_bad)


def test_noise_falls_only_on_what_is_known_to_be_good():
    torch.manual_seed(0)
    features = torch.zeros(4, 5, 6, 6)
    truths = torch.zeros(4, 6, 6, dtype=torch.int8)
    truths[1, :3], truths[2] = DEFECT, UNKNOWN
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0])
    here = torch.ones(4, 6, 6, dtype=torch.bool)
    here[3] = False
    noisy, told, named = marred(features, truths, labels, here, 0.3)
    assert (noisy[0] != 0).all() and (noisy[1, :, 3:] != 0).all()
    assert (noisy[1, :, :3] == 0).all() and (noisy[2:] == 0).all()
    assert float(noisy[0].std()) == pytest.approx(0.3, rel=0.2)
    assert (told[:2] == DEFECT).all() and (told[2] == UNKNOWN).all() and (told[3] == GOOD).all()
    assert named.tolist() == [1, 1, 1, 0]
    assert (truths[0] == GOOD).all() and labels[0] == 0  # what came in stays


def test_blots_are_absent_in_half_of_the_cases_and_smooth():
    rng = np.random.default_rng(0)
    drawn = np.stack([blots(rng, (12, 20)) for _ in range(400)])
    assert drawn.dtype == bool and drawn.shape == (400, 12, 20)
    assert 0.4 < drawn.any((1, 2)).mean() < 0.6
    noise = perlin_noise(np.random.default_rng(1), (64, 96), cells_hw=(2, 3))
    assert noise.shape == (64, 96) and noise.dtype == np.float32
    assert -1.01 <= noise.min() < -0.2 and 0.2 < noise.max() <= 1.01
    assert abs(np.diff(noise, axis=0)).max() < 0.15 and abs(np.diff(noise, axis=1)).max() < 0.15
    assert (noise == perlin_noise(np.random.default_rng(1), (64, 96), cells_hw=(2, 3))).all()


def test_a_cell_is_a_defects_where_the_mask_covers_a_quarter():
    mask = np.zeros((32, 48), np.float32)
    mask[0:8, 0:8] = 1  # all of a cell
    mask[8:16, 0:2] = 1  # a quarter of the one below
    mask[0:1, 8:16] = 1  # an eighth of the one beside
    cells = marked(mask, (4, 6))
    assert cells[:2, :2].tolist() == [[DEFECT, UNKNOWN], [DEFECT, GOOD]]
    assert (cells != GOOD).sum() == 3
    speck = np.zeros((32, 48), np.float32)
    speck[20, 20] = 1  # less than a quarter anywhere: the cell that shows most of it
    assert np.argwhere(marked(speck, (4, 6)) == DEFECT).tolist() == [[2, 2]]
    assert (marked(np.zeros((32, 48), np.float32), (4, 6)) == GOOD).all()


def test_truth_follows_the_canvas(defects, chips, backbone):
    """In a letterbox the mask lies where the picture lies; of tiles those that show the defect are bad."""
    unmasked = dataclasses.replace(defects[1], mask_path=None)
    samples = (chips.fit[0], defects[0], unmasked)
    boxed = FitContext(backbone, Preprocess(size_hw=(128, 128), fit=Fit.LETTERBOX), threads=1)
    truth = load_truth(samples, load_canvases(samples, boxed), boxed, grid_hw=(16, 16))
    assert truth.labels.tolist() == [GOOD, DEFECT, DEFECT]
    assert (truth.cells[0] == GOOD).all() and (truth.cells[2] == UNKNOWN).all()
    # 16 px from row 24 and column 32, the picture 16 px below the canvas's upper edge
    assert np.argwhere(truth.cells[1] == DEFECT).tolist() == [[5, 4], [5, 5], [6, 4], [6, 5]]
    assert (truth.flipped(rows=True, columns=True).cells == truth.cells[:, ::-1, ::-1]).all()
    tiled = FitContext(backbone, Preprocess(size_hw=(64, 64), fit=Fit.TILES), threads=1)
    canvases = load_canvases(samples, tiled)
    truth = load_truth(samples, canvases, tiled, grid_hw=(8, 8))
    assert (truth.labels[canvases.owners == 0] == GOOD).all()
    assert set(truth.labels[canvases.owners == 1].tolist()) == {GOOD, DEFECT}
    assert (truth.labels[canvases.owners == 2] == UNKNOWN).all()


def test_a_mask_of_another_size_is_refused(defects, context, tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((10, 10), 255, np.uint8))
    wrong = dataclasses.replace(defects[0], mask_path=(tmp_path / "mask.png").as_posix())
    with pytest.raises(DataError, match="does not fit its photograph"):
        load_truth((wrong,), load_canvases((wrong,), context), context, grid_hw=(12, 16))


def variant(labels: list[int]) -> Variant:
    """Return one variant of empty canvases with these labels."""
    count = len(labels)
    values = tuple(np.zeros((count, 2, side, side), np.float16) for side in (4, 2))
    levels = Levels(values, np.ones((count, 4, 4), np.float32))
    return Variant(levels, Truth(np.zeros((count, 4, 4), np.int8), np.array(labels, np.int8)))


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_defects_come_as_often_as_told(batch):
    labels = [0] * 10 + [1] * 3 + [-1]
    draw = Mixture((variant(labels),), config(training={"batch": batch}), 0)
    drawn = [draw.chosen(step).tolist() for step in range(60)]
    assert all(len(each) == batch for each in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=14)
    assert abs(counts[10:13].sum() - counts[:10].sum()) <= 1
    assert counts[13] == 0  # nobody knows what it shows
    assert np.ptp(counts[:10]) <= 1 and np.ptp(counts[10:13]) <= 1  # in turn
    rarely = Mixture((variant(labels),), config(defect_share=0.1, training={"batch": batch}), 0)
    share = np.mean(np.concatenate([rarely.chosen(step) for step in range(60)]) >= 10)
    assert share == pytest.approx(0.1, abs=0.02)
    alone = Mixture((variant([0] * 10),), config(training={"batch": batch}), 0)
    assert len(alone.chosen(3)) == batch


def test_a_step_draws_the_same_wherever_training_begins():
    draw = Mixture((variant([0] * 6 + [1] * 2),) * 2, config(), 5)
    copy = pickle.loads(pickle.dumps(draw))
    draw(0)
    for first, second in zip(draw(7), copy(7), strict=True):
        assert torch.equal(first, second)


def test_mirroring_twice_gives_the_canvases_back():
    rng = np.random.default_rng(0)
    canvases = Canvases(
        rng.integers(0, 256, (2, 8, 12, 3), np.uint8),
        np.array([[1, 2, 7, 8], [0, 0, 12, 5]], np.float32),
        np.arange(2),
        np.array([[0, 0, 12, 8], [0, 0, 12, 8]], np.int32),
    )
    for rows, columns in ((True, False), (False, True), (True, True)):
        once = mirrored(canvases, rows=rows, columns=columns)
        assert (once.pixels != canvases.pixels).any()
        assert (once.content_xyxy[:, :2] < once.content_xyxy[:, 2:]).all()
        twice = mirrored(once, rows=rows, columns=columns)
        assert (twice.pixels == canvases.pixels).all()
        assert (twice.content_xyxy == canvases.content_xyxy).all()
    box = mirrored(canvases, rows=True, columns=True).content_xyxy[0]
    assert box.tolist() == [5, 0, 11, 6]


def test_level_sizes_are_root_mean_squares(chips, context):
    levels = load_levels(load_canvases(chips.fit[:2], context), context)
    for values, size in zip(levels.values, sizes(levels, np.array([0, 1])), strict=True):
        assert size == pytest.approx(np.sqrt(np.square(values, dtype=np.float64).mean()), rel=1e-3)


def test_torch_and_the_bundles_graph_agree(chips, context):
    """On real canvases, one by one and eight together."""
    where = geometry(context.backbone, context.preprocess.size_hw)
    settings = config(smoothing=0)
    canvases = load_canvases(chips.test_good[:4] + chips.test_bad[:4], context)
    levels = load_levels(canvases, context)
    torch.manual_seed(0)
    network = Network(where, settings, sizes(levels, np.arange(8)))
    lesson = Lesson(network, 0.5, mixed=False).train()
    everywhere = torch.zeros(16, *where.grid_hw, dtype=torch.bool)
    none = torch.zeros(8, *where.grid_hw, dtype=torch.int8)
    lesson(torch.zeros(8), none, torch.from_numpy(levels.shares), everywhere, *levels.tensors(np.arange(8)))
    head = Head(Verdict(network), where.grid_hw, shares=True, scores=True)
    session = GraphSession(distance_graph(head, context, settings, name="test"), threads=1)
    with torch.no_grad():
        _, wanted = head.module.eval()(*levels.tensors(np.arange(8)), torch.from_numpy(levels.shares))
    together = session.run(canvases.pixels, canvases.content_xyxy)["score"]
    alone = np.concatenate(
        [session.run(canvases.pixels[i : i + 1], canvases.content_xyxy[i : i + 1])["score"] for i in range(8)]
    )
    spread = np.subtract(*np.percentile(wanted.numpy(), [75, 25]))
    assert spread > 0
    # the levels are kept in half precision, and so are the bundle's weights
    assert abs(together - wanted.numpy()).max() < 0.05 * spread + 1e-3
    assert abs(together - alone).max() < 1e-3 * spread


def scored(model: object, samples: tuple[Sample, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (n,) and maps (n, H, W) of chips."""
    session = GraphSession(model, threads=1)
    box = np.array([[0, 0, 128, 96]], np.float32)
    outputs = [session.run(read(sample.path).pixels[None], box) for sample in samples]
    return tuple(np.concatenate([each[name] for each in outputs]) for name in ("score", "map"))


def test_labelled_defects_teach_score_and_map(defects, chips, context):
    settings = config(smoothing=2, training={"steps": 120})
    data = FitData(chips.fit[:12] + defects[:6])
    model = SuperSimpleNet(settings).fit(data, context)
    bad_scores, maps = scored(model, defects[6:])
    good_scores, clean = scored(model, chips.test_good)
    assert bad_scores.min() > np.quantile(good_scores, 0.9)
    for heat, sample in zip(maps, defects[6:], strict=True):
        inside = read(sample.mask_path).pixels[..., 0] > 0
        assert heat[inside].mean() > heat[~inside].mean() + 0.05
    assert (clean >= 0).all() and (maps <= 1).all()


def test_without_masks_only_the_score_learns_from_defects(defects, chips, context):
    settings = config(training={"steps": 80})
    unmasked = tuple(dataclasses.replace(sample, mask_path=None) for sample in defects)
    model = SuperSimpleNet(settings).fit(FitData(chips.fit[:12] + unmasked[:6]), context)
    assert scored(model, unmasked[6:])[0].min() > np.median(scored(model, chips.test_good)[0])


def test_defect_share_and_flips(defects, chips, context):
    """At share 0 the defects are as if they were not there; above it and with flips the graph is another."""
    good = chips.fit[:6]
    entry = methods["supersimplenet"]
    plain = drawn_up(entry, SuperSimpleNet(config()), FitData(good), context)
    graphs = {
        name: drawn_up(entry, SuperSimpleNet(settings), FitData(good + defects[:2]), context)
        for name, settings in {
            "none": config(defect_share=0.0),
            "half": config(),
            "some": config(defect_share=0.25),
            "flipped": config(flips="both"),
        }.items()
    }
    assert graphs["none"] == plain
    assert len({*graphs.values(), plain}) == 4


def test_needs_good_parts(defects, context):
    with pytest.raises(DataError, match="no good part"):
        SuperSimpleNet(config()).fit(FitData(defects[:2]), context)
    assert Path(defects[0].path).is_file()
