"""fastflow: its steps can be undone, its volumes are those of the Jacobian, and its graph is torch's."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from agreement import assert_agreement

from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.fastflow import FastflowConfig
from flawscope.methods.settings import Training

torch = pytest.importorskip("torch")
deep = pytest.importorskip("flawscope.methods.deep.fastflow")
store = pytest.importorskip("flawscope.methods.deep.canvases")

pytestmark = pytest.mark.deep


@pytest.fixture
def lively():
    """A function that gives a module's weights random values: a flow begins as doing nothing."""

    def enliven(module):
        generator = torch.Generator().manual_seed(5)
        for weights in module.parameters():
            weights.data = 0.3 * torch.randn(weights.shape, generator=generator)
        return module.eval()

    return enliven


def undone(coupling, values):
    """Take back one step, written down as the paper's formula has it."""
    first, second = values[:, : coupling.kept], values[:, coupling.kept :]
    said = coupling.says(first)
    factor = deep.LIMIT * torch.tanh(said[:, : coupling.changed] / deep.LIMIT)
    before = torch.cat([first, (second - said[:, coupling.changed :]) / factor.exp()], dim=1)
    earlier = torch.empty_like(before)
    for place, channel in enumerate(coupling.order.tolist()):
        earlier[:, channel] = before[:, place]
    return earlier


@pytest.mark.parametrize("channels", [6, 7])
@pytest.mark.parametrize("side", [1, 3])
def test_a_coupling_can_be_undone(channels, side, lively):
    """Also where the channels do not halve."""
    coupling = lively(deep.Coupling(channels, side, 5))
    values = torch.randn(2, channels, 4, 3)
    after, _ = coupling(values)
    assert not torch.allclose(after, values, atol=0.1)
    assert torch.allclose(undone(coupling, after), values, atol=1e-5)


def test_likelihood_is_that_of_the_change_of_variables(lively):
    """-log p(x) = |z|^2 / 2 - log |det dz/dx|, the determinant being that of autograd's Jacobian; the
    features are layer-normalised and brought to the measured mean and deviation first."""
    channels, grid = 4, (2, 3)
    flow = lively(deep.Flow(channels, 3, 5)).double()
    flow.mean += 0.3
    flow.deviation *= 1.7
    level = torch.randn(1, channels, *grid).double()
    spread = torch.sqrt(level.var(correction=0) + 1e-5)
    entered = ((level - level.mean()) / spread - 0.3) / 1.7

    def steps(flat):
        values = flat.view(1, channels, *grid)
        for coupling in flow.couplings:
            values, _ = coupling(values)
        return values.flatten()

    noise = steps(entered.flatten())
    jacobian = torch.autograd.functional.jacobian(steps, entered.flatten())
    wanted = 0.5 * noise @ noise - torch.linalg.slogdet(jacobian).logabsdet
    energy, growth = flow(level)
    assert ((energy - growth).sum() * channels).item() == pytest.approx(wanted.item(), rel=1e-9)


def test_steps_alternate_and_mix_channels_in_fixed_seeded_orders():
    flows = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        flows.append(deep.Flow(8, 4, 5))
    assert [step.says[0].kernel_size for step in flows[0].couplings] == [(3, 3), (1, 1)] * 2
    orders = [[step.order.tolist() for step in flow.couplings] for flow in flows]
    assert orders[0] == orders[1] != orders[2]
    assert all(sorted(order) == list(range(8)) for order in orders[0])
    assert all(one != other for one, other in pairwise(orders[0]))
    assert "couplings.0.order" in flows[0].state_dict()  # or a checkpoint would forget it


def test_features_enter_with_the_measured_mean_and_deviation():
    """Of the positions that show picture: each channel then has mean 0 and variance 1."""
    generator = np.random.default_rng(3)
    values = (generator.normal(2, 3, (10, 6, 4, 4)) * np.arange(1, 7).reshape(1, 6, 1, 1)).astype(np.float16)
    shares = np.ones((10, 4, 4), np.float32)
    shares[:, :, 3] = 0
    values[:, :, :, 3] *= 2
    flow = deep.Flow(6, 1, 4)
    flow.measure(store.Levels((values,), shares), 0)
    entered = (deep.layer_normalised(torch.from_numpy(values).float()) - flow.mean) / flow.deviation
    shown = entered[:, :, :, :3].transpose(0, 1).flatten(1)
    assert torch.allclose(shown.mean(1), torch.zeros(6), atol=1e-4)
    assert torch.allclose(shown.var(1, correction=0), torch.ones(6), atol=1e-4)


def test_the_map_is_never_negative_and_keeps_the_order():
    """Written down slowly: 1 less the density relative to its peak, averaged over the levels."""

    class Given(torch.nn.Module):
        def forward(self, level):
            return level[:, 0], torch.full_like(level[:, 0], 7.0)  # the growth has no part in it

    head = deep.Unlikeliness(torch.nn.ModuleList([Given(), Given()]), (1, 4))
    first, second = [0.0, 0.5, 0.6, 1e5], [0.1, 0.5, 2.0, 80.0]
    found = head(*(torch.tensor(values).view(1, 1, 1, 4) for values in (first, second)))[0, 0]
    wanted = [1 - (math.exp(-one) + math.exp(-two)) / 2 for one, two in zip(first, second, strict=True)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)
    assert found.min() > 0 and (found.diff() > 0).all()


def test_training_raises_the_likelihood_and_the_graph_agrees(chips, backbone, preprocess, monkeypatch):
    """Parts not taught become likelier by training, and torch and ONNX give real canvases the same scores."""
    made = []
    unlikeliness = deep.Unlikeliness
    monkeypatch.setattr(deep, "Unlikeliness", lambda *given: made.append(unlikeliness(*given)) or made[-1])
    monkeypatch.setattr("flawscope.methods.graph.halve", lambda model: model)
    context = FitContext(backbone, preprocess, threads=1)
    config = FastflowConfig(
        couplings=4,
        width=8,
        smoothing=0,
        top_share=0,
        training=Training(steps=60, batch=4, learning_rate=2e-3),
    )
    model = deep.fit(config, FitData(chips.fit[:8]), context)
    canvases = store.load_canvases((*chips.test_good[:8], *chips.test_bad[:8]), context)
    assert_agreement(made[0], model, canvases, context)
    levels = store.load_levels(store.load_canvases(chips.test_good[:4], context), context)
    trained = deep.Surprise(made[0].flows).eval()
    batch = torch.from_numpy(levels.shares), *levels.tensors(np.arange(4))
    with torch.no_grad():
        after = float(trained(*batch))
        for flow in made[0].flows:
            flow.couplings = torch.nn.ModuleList()  # as a flow that does nothing, which is how each begins
        assert after < float(trained(*batch)) - 0.05
