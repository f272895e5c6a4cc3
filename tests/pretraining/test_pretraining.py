"""Pretraining: the loss against a slow oracle, folding, courses that go on, and a probe that tells."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flawscope.core.errors import ConfigError, UsageError
from flawscope.core.rng import derive
from flawscope.pretraining.settings import Architecture, Course, Curriculum, Workplace
from flawscope.synth.episodes import Layout, episodes

torch = pytest.importorskip("torch", reason="pretraining needs flawscope[train]")
pytest.importorskip("timm", reason="pretraining needs flawscope[train]")
pytestmark = pytest.mark.deep

from flawscope.pretraining import course as courses  # noqa: E402
from flawscope.pretraining import heldout, networks, objective, probe, whitening  # noqa: E402
from flawscope.pretraining.settings import Terms  # noqa: E402

TINY = Course(
    steps=4,
    architecture=Architecture("mobile", 0.25),
    layout=Layout(episodes=2, good=2, defective=2, side=64),
    warm_up=2,
)
BRIEF = partial(whitening.Estimate, batches=1)


def levels(seed: int, count: int) -> list:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((count, 6, 8, 8), (count, 10, 4, 4))
    return [torch.rand(shape, generator=rng) for shape in shapes]


def test_the_embedding_is_that_of_the_feature_banks() -> None:
    fine, coarse = levels(0, 2)
    features = objective.embedded([fine, coarse])
    assert features.shape == (2, 16, 8, 8)
    unit = fine / fine.square().sum(1, keepdim=True).sqrt()
    assert torch.allclose(features[0, :6, 0, 0], unit[0, :, :2, :2].mean((1, 2)), atol=1e-5)
    assert torch.allclose(features[1, :6, 4, 4], unit[1, :, 3:6, 3:6].mean((1, 2)), atol=1e-5)


def test_positions_on_and_off_a_defect() -> None:
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.bool)
    masks[0, 0, 8:16, 8:16] = True  # one whole position
    masks[0, 1, 30, 30] = True  # a single pixel: its position is the best covered
    on, off = objective.positions(masks, 8, covered=0.25)
    assert on[0, 0].nonzero().flatten().tolist() == [9] and on[0, 1].nonzero().flatten().tolist() == [27]
    assert int(off[0, 0].sum()) == 63 and not off[0, 1, 27]


def test_distances_are_to_the_nearest_patch_of_another_photograph() -> None:
    """The share of right pairs against a double loop."""
    masks = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, 16:40, 16:40] = True
    given = levels(3, 3)
    terms = Terms(odd=10_000, marred=10_000)
    found = objective.Objective(terms)(given, masks)
    features = objective.embedded(given).flatten(2).transpose(1, 2)  # (3, 64, C)
    on, off = objective.positions(masks, 8, covered=0.25)
    keys = [features[0, ::2], features[1, ::2]]
    high, low = [], []
    for photograph in range(3):
        others = torch.cat([keys[k] for k in range(2) if k != photograph])
        for place in range(64):
            distance = float((others - features[photograph, place]).square().sum(1).min())
            if photograph < 2 or bool(off[0, 0, place]):
                low.append(distance)
            elif bool(on[0, 0, place]):
                high.append(distance)
    share = np.mean(np.array(high)[:, None] > np.array(low)[None])
    assert found.ranked == pytest.approx(share, abs=2e-3)
    assert torch.isfinite(found.loss)


def test_features_that_know_the_defect_lose_less() -> None:
    masks = torch.zeros(2, 2, 64, 64, dtype=torch.bool)
    masks[:, :, 16:40, 16:40] = True
    blind = [torch.ones(8, 6, 8, 8), torch.ones(8, 10, 4, 4)]
    blind = [level + 0.05 * noise for level, noise in zip(blind, levels(1, 8), strict=True)]
    seeing = [level.clone() for level in blind]
    seeing[0].reshape(2, 4, 6, 8, 8)[:, 2:, 0, 2:5, 2:5] += 3
    loss = objective.Objective(Terms())
    assert loss(seeing, masks).loss < loss(blind, masks).loss
    assert loss(seeing, masks).separated == 1.0 and loss(seeing, masks).ranked > 0.95


@pytest.mark.parametrize("name", ["resnet", "plain", "mobile"])
def test_networks_give_two_levels_and_fold_to_the_same(name: str) -> None:
    torch.manual_seed(0)
    network = networks.build(Architecture(name))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    network.eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = network(image)
        after = networks.folded(network)(image)
    assert [tuple(x.shape[2:]) for x in before] == [(8, 12), (4, 6)]
    for one, two in zip(before, after, strict=True):
        assert torch.allclose(one, two, atol=1e-3 * float(one.abs().max()))
    assert not any(isinstance(module, networks.Folding) for module in network.modules())


class Scaled(torch.nn.Module):
    """A further term with a weight of its own: how large features are."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(
        self, network: torch.nn.Module, average: torch.nn.Module, pixels: torch.Tensor
    ) -> torch.Tensor:
        assert pixels.dtype is torch.uint8 and average is not network
        return 5 * (self.weight * network(networks.normalised(pixels[:, :1]))[0]).square().mean()


def test_a_further_term_is_learnt_from_and_kept(tmp_path: Path) -> None:
    course = replace(TINY, fall=0.0, curriculum=Curriculum(0.5, 0.5))
    places = {name: Workplace(tmp_path / name, threads=1, workers=0, mixed=False) for name in "abc"}
    plain, _ = courses.run(course, places["a"])
    straight, _ = courses.run(course, places["b"], further=Scaled)
    courses.run(replace(course, steps=2), places["c"], further=Scaled)
    longer, _ = courses.run(course, places["c"], further=Scaled)
    weights = [list(network.state_dict().values()) for network in (plain, straight, longer)]
    assert all(torch.equal(one, two) for one, two in zip(weights[1], weights[2], strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(weights[0], weights[1], strict=True))
    kept = [torch.load(places[name].folder / courses.CHECKPOINT)["further"]["weight"] for name in "bc"]
    assert torch.equal(*kept) and kept[0] < 1


def test_a_course_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, _ = courses.run(TINY, Workplace(tmp_path / "a", threads=1, workers=0, mixed=False))
    part = Workplace(tmp_path / "b", threads=1, workers=0, mixed=False)
    stopped = replace(TINY, fall=0.0, curriculum=Curriculum(0.5, 0.5))
    courses.run(replace(stopped, steps=2), part)
    longer, reached = courses.run(replace(stopped, steps=4), part)
    straight, _ = courses.run(stopped, Workplace(tmp_path / "c", threads=1, workers=0, mixed=False))
    assert reached.step == 4 and reached.images == 4 * 8
    for one, two in zip(longer.state_dict().values(), straight.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    log = (tmp_path / "a" / courses.LOG).read_text().splitlines()
    assert log[0].startswith("step,") and log[-1].startswith("4,")
    kept, papers = courses.averaged(tmp_path / "a")
    assert papers["step"] == 4 and papers["course"]["steps"] == 4
    for one, two in zip(kept.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(ConfigError, match="keeps no course"):
        courses.averaged(tmp_path)
    with pytest.raises(ConfigError, match=r"do(es)? not fit|lack"):
        courses.run(replace(TINY, architecture=Architecture("plain", 0.25)), part)


def test_a_course_through_a_whitening_layer_gives_the_trunk_and_spares_the_early_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "Estimate", BRIEF)
    begun = networks.build(TINY.architecture).state_dict()
    course = replace(TINY, whitening=0.7, hold_early=True, hold_norms=True, wide=TINY.layout.at(96))
    assert [course.layout_at(step).side for step in range(3)] == [64, 96, 64]
    place = Workplace(tmp_path, threads=1, workers=0, mixed=False)
    trunk, reached = courses.run(course, place, start_from=begun)
    assert trunk.state_dict().keys() == begun.keys() and reached.images == 4 * 8
    moved = {name for name, value in trunk.state_dict().items() if not torch.equal(value, begun[name])}
    assert moved and all(name.startswith(("stages.2", "stages.3")) for name in moved)
    kept = torch.load(tmp_path / courses.CHECKPOINT, weights_only=True)["average"]
    again, _ = courses.averaged(tmp_path)
    name = min(moved)
    assert torch.equal(again.state_dict()[name], kept[f"trunk.{name}"])
    start = whitening.whitened(_trunk(begun), BRIEF(power=0.7)).layers[0].weight.detach()
    learnt = float((kept["layers.0.weight"] - start).abs().max())
    assert 0 < learnt < 0.1, "the layer is begun whitened and learns"


def _trunk(state: dict):
    trunk = networks.build(TINY.architecture)
    trunk.load_state_dict(state)
    return trunk


def test_early_weights_are_those_before_the_two_levels() -> None:
    trunk = networks.build(Architecture("resnet"))
    held = {id(weight) for weight in networks.early(trunk)}
    free = {name.split(".")[0] for name, weight in trunk.named_parameters() if id(weight) not in held}
    assert free == {"layer2", "layer3"} and len(held) > 5


def test_weights_to_begin_with_are_averaged(tmp_path: Path) -> None:
    one, two = networks.build(TINY.architecture), networks.build(TINY.architecture)
    states = [one.state_dict(), {k: v for k, v in two.state_dict().items() if "num_batches" not in k}]
    mixed = courses.mean(states)
    name = next(iter(states[1]))
    assert torch.allclose(mixed[name], (states[0][name] + states[1][name]) / 2)
    begun = replace(TINY, rate=0.0, hold_norms=True)
    place = Workplace(tmp_path, threads=1, workers=0, mixed=False)
    network, _ = courses.run(begun, place, start_from=mixed)
    assert torch.allclose(network.state_dict()[name], mixed[name], atol=1e-6)
    with pytest.raises(ConfigError, match="one network"):
        courses.mean([one.state_dict(), networks.build(Architecture("mobile", 0.5)).state_dict()])


def test_rates_rise_stay_and_fall() -> None:
    course = Course(steps=100, warm_up=10, fall=0.2, rate=1.0)
    rates = [course.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:80] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5) and rates[99] == pytest.approx(0.05)
    hardness = Curriculum(0.2, 1.0, 0.5)
    assert [hardness.at(x) for x in (0, 0.25, 0.5, 1)] == pytest.approx([0.2, 0.6, 1, 1])


def test_the_cover_is_greedy_and_the_probe_tells_good_from_bad() -> None:
    points = torch.tensor([[0.0, 0], [10, 0], [10, 10], [0.1, 0], [0, 10]])
    assert sorted(map(tuple, probe.cover(points, 4, seed=0).tolist())) != []
    assert len({tuple(p) for p in probe.cover(points, 4, seed=0).round().tolist()}) == 4
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 120, (12, 64, 64, 3)).astype(np.uint8)
    masks = np.zeros((6, 64, 64), bool)
    masks[3:, 20:44, 20:44] = True
    pixels[6:][masks] = 200

    def seen(shown: np.ndarray) -> list[np.ndarray]:
        grey = shown.mean(3).reshape(len(shown), 1, 8, 8, 64).mean(4)[:, 0]
        flat = np.stack([grey, 255 - grey], 1).astype(np.float32)
        return [flat, flat[:, :, ::2, ::2]]

    pictures = probe.Pictures(pixels[:6], pixels[6:], np.arange(6) >= 3, masks)
    found = probe.probe(seen, pictures, probe.Protocol(bank=50, candidates=300))
    assert found.image == 1.0 and found.pixel is not None and found.pixel > 0.8


def test_whitening_turns_down_what_good_patches_differ_in() -> None:
    torch.manual_seed(0)
    trunk = networks.build(Architecture("mobile", 0.25)).eval()
    estimate = whitening.Estimate(batches=2, power=1.0)
    network = whitening.whitened(trunk, estimate)
    same = whitening.whitened(trunk, estimate)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    drawn = episodes(derive(5, "other"), whitening.DRAWN, difficulty=0.5).pixels[0, :6]
    image = networks.normalised(torch.from_numpy(drawn)[None])
    with torch.no_grad():
        for before, after in zip(trunk(image), network(image), strict=True):
            assert before.shape == after.shape
            unit = torch.nn.functional.normalize(after, dim=1)
            assert float(unit.mean((0, 2, 3)).norm()) > 0.7, "the shared direction stays the longest"
    before, after = (spread(one, estimate) for one in (trunk, network))
    assert after < 0.7 * before, "over the products that it was estimated on, no direction rules"


def spread(network: torch.nn.Module, estimate: whitening.Estimate) -> float:
    """The largest variance of what neighbours differ in beside the shared direction, by the mean one."""
    sums: list = []
    for number in range(estimate.batches):
        rng = derive(estimate.seed, "whitening", number)
        for photographs in episodes(rng, whitening.DRAWN, difficulty=estimate.difficulty).pixels:
            whitening._add(network, photographs[: whitening.DRAWN.good], sums)
    shared = torch.nn.functional.normalize(sums[0].total, dim=0)
    aside = torch.eye(len(shared)) - torch.outer(shared, shared)
    variances = np.linalg.eigvalsh((aside @ sums[0].differences @ aside).numpy())
    return float(variances[-1] / variances[1:].mean())


def test_held_out_generators_are_drawn_alike_and_half_of_their_tests_are_bad() -> None:
    drawn = heldout.Drawn(textures=1, chips=1, good=2, tested=4, side=96)
    one, two = heldout.held_out(drawn), heldout.held_out(drawn)
    assert len(one) == 2
    for name, pictures in one.items():
        assert np.array_equal(pictures.tested, two[name].tested)
        assert pictures.is_bad.tolist() == [False, True, False, True]


def test_a_backbone_comes_out_with_its_card_and_teaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whitening, "Estimate", BRIEF)
    from flawscope.flows.pretrain import pretrain
    from flawscope.runtime.backbone import read

    made = pretrain(
        TINY, Workplace(tmp_path, threads=1, workers=0), judge=False, command="flawscope pretrain"
    )
    backbone = read(made.backbone)
    assert [level.stride for level in backbone.card.levels] == [8, 16]
    assert backbone.card.digest == made.digest and made.size_bytes == made.backbone.stat().st_size
    card = made.card.read_text()
    for text in (made.digest, "Apache-2.0", "4 steps, 32 pictures", "`flawscope pretrain`", "random weights"):
        assert text in card
    again = pretrain(
        TINY, Workplace(tmp_path / "b", threads=1, workers=0), start_from=[made.weights], judge=False
    )
    assert made.weights.name in again.card.read_text()


@pytest.mark.parametrize(
    ("course", "what"),
    [
        (replace(TINY, architecture=Architecture("vgg")), "architecture"),
        (replace(TINY, architecture=Architecture("resnet", 0.5)), "width"),
        (replace(TINY, steps=0), "steps"),
        (replace(TINY, whitening=0.7), "whitening"),
        (replace(TINY, layout=Layout(side=70)), "side"),
        (replace(TINY, wide=Layout(side=70)), "side"),
    ],
)
def test_a_course_that_cannot_be_is_refused(course: Course, what: str, tmp_path: Path) -> None:
    from flawscope.flows.pretrain import pretrain

    with pytest.raises(UsageError, match=what):
        pretrain(course, Workplace(tmp_path))
