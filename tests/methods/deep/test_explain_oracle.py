"""Closed-form class activation maps against torch's own gradients, by the published formulas, and against the
usual library where it is installed (`grad-cam`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawscope.runtime.explain.closed import LIBRARY_EPS, grad_cam, grad_cam_plus_plus, layer_cam

pytestmark = pytest.mark.deep

# ReLU, ReLU, ReLU6, SiLU; with ImageNet's weights where they are at hand
BACKBONES = ("resnet18", "resnet50", "mobilenetv2_100", "efficientnet_b0")
CLASSES = 3
SHARED = Path(os.environ.get("FLAWSCOPE_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@pytest.fixture(scope="module", params=BACKBONES)
def network(request: pytest.FixtureRequest) -> Any:
    """Last feature map, 1x1 convolution, mean: the shape of every classifier here."""
    import timm
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(0)
    body = timm.create_model(request.param, pretrained=False, num_classes=0, global_pool="")
    weights = SHARED / "weights" / f"{request.param}.safetensors"
    if weights.is_file():
        body.load_state_dict(load_file(weights), strict=False)
    head = torch.nn.Conv2d(body.num_features, CLASSES, 1)
    spread = 0.5 / body.num_features**0.5
    # more weights speak for a class than against it, so that no map is empty
    torch.nn.init.normal_(head.weight, mean=spread / 3, std=spread)
    return _Network(body.eval(), head.eval())


class _Network:
    def __init__(self, body: Any, head: Any) -> None:
        self.body, self.head = body, head

    def seen(self) -> Any:
        """Features of two pictures, (2, C, h, w), from which gradients are wanted."""
        import torch

        pictures = torch.from_numpy(np.random.default_rng(3).standard_normal((2, 3, 96, 128))).float()
        with torch.no_grad():
            return self.body(pictures)

    def weight(self, target: int) -> np.ndarray:
        return self.head.weight.detach().numpy()[target, :, 0, 0]


def gradients(network: _Network, features: Any, share: Any, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activations and the logit's gradient at each of them, by autograd."""
    import torch

    values = features.clone().requires_grad_(True)
    evidence = network.head(values)
    logits = (evidence * share[:, None]).sum((2, 3)) / share.sum((1, 2))[:, None]
    (found,) = torch.autograd.grad(logits[:, target].sum(), values)
    return values.detach().double().numpy(), found.double().numpy()


def published(activations: np.ndarray, slopes: np.ndarray, kind: str, *, eps: float) -> np.ndarray:
    """Write each map as its paper does."""
    if kind == "gradcam":
        weights = slopes.mean((2, 3), keepdims=True)
        return np.maximum((weights * activations).sum(1), 0)
    if kind == "layercam":
        return np.maximum((np.maximum(slopes, 0) * activations).sum(1), 0)
    sums = activations.sum((2, 3), keepdims=True)
    below = 2 * slopes**2 + slopes**3 * sums + eps
    alpha = np.divide(slopes**2, below, out=np.zeros_like(below), where=slopes != 0)
    weights = (alpha * np.maximum(slopes, 0)).sum((2, 3), keepdims=True)
    return np.maximum((weights * activations).sum(1), 0)


def closed(features: np.ndarray, weight: np.ndarray, share: np.ndarray, kind: str, eps: float) -> np.ndarray:
    if kind == "gradcam":
        return grad_cam(features, weight)
    if kind == "layercam":
        return layer_cam(features, weight, share=share)
    return grad_cam_plus_plus(features, weight, share=share, eps=eps)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "letterboxed"])
@pytest.mark.parametrize(
    ("kind", "eps"),
    [("gradcam", 0.0), ("gradcam++", 0.0), ("gradcam++", LIBRARY_EPS), ("layercam", 0.0)],
)
def test_closed_forms_equal_the_gradients(network, kind, eps, padded):
    import torch

    features = network.seen()
    share = torch.ones(features.shape[0], *features.shape[2:])
    if padded:
        share[:, 0] = 0.0
        share[:, -1] = 0.25
        share[:, :, 0] *= 0.5
    for target in range(CLASSES):
        wanted = published(*gradients(network, features, share, target), kind, eps=eps)
        found = closed(features.numpy(), network.weight(target), share.numpy(), kind, eps)
        for one, other in zip(found, wanted, strict=True):
            assert other.max() > 0
            np.testing.assert_allclose(one / other.max(), other / other.max(), atol=1e-4)


def test_the_two_epsilons_differ_by_more_than_rounding(network):
    """So that the test above could tell one from the other."""
    features, weight = network.seen().numpy(), network.weight(1)
    ours = grad_cam_plus_plus(features, weight)
    library = grad_cam_plus_plus(features, weight, eps=LIBRARY_EPS)
    assert np.abs(ours / ours.max() - library / library.max()).max() > 1e-3


def test_closed_forms_equal_the_usual_library(network):
    library = pytest.importorskip("pytorch_grad_cam", reason="the library grad-cam is not installed")
    import torch
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    body = torch.nn.Identity()
    pooled = torch.nn.Sequential(body, network.head, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    features = network.seen().clone().requires_grad_(True)  # the library hooks on gradients
    grid_wh = features.shape[3], features.shape[2]
    targets = [ClassifierOutputTarget(1)] * len(features)
    kinds = {"gradcam": library.GradCAM, "gradcam++": library.GradCAMPlusPlus, "layercam": library.LayerCAM}
    share = np.ones((len(features), *features.shape[2:]), np.float32)
    for kind, maker in kinds.items():
        with maker(model=pooled, target_layers=[body]) as cam:
            wanted = cam(input_tensor=features, targets=targets)  # each map scaled from 0 to 1 by the library
        found = closed(features.detach().numpy(), network.weight(1), share, kind, LIBRARY_EPS)
        for one, other in zip(found, wanted, strict=True):
            assert other.shape == (grid_wh[1], grid_wh[0])
            scaled = (one - one.min()) / (one - one.min()).max()
            np.testing.assert_allclose(scaled, other, atol=1e-4)
