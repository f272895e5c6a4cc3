"""Class activation maps in closed form: the forward pass is enough, because the head is linear.

The logit is the mean of the evidence over the positions, weighted by the share s of each position's cell
that shows a judged part of the picture. With w_k the head's weight of channel k for the class and the shares
scaled to add up to one, the gradient of the logit at position p is g_k(p) = w_k s(p); where all of the canvas
is shown, that is w_k / (h w) everywhere. From there, with A_k the k-th map and S_k its sum:

    cam         the evidence itself, bias included: its weighted mean is the logit (Zhou et al. 2016)
    gradcam     relu(sum_k mean_p g_k(p) A_k(p)) = relu(sum_k w_k A_k) / (h w)   (Selvaraju et al. 2017)
    gradcam++   weight_k = sum_p alpha_k(p) relu(g_k(p)), alpha = g^2 / (2 g^2 + g^3 S_k + eps);
                relu(sum_k weight_k A_k)   (Chattopadhay et al. 2018)
    layercam    relu(sum_k relu(g_k(p)) A_k(p))   (Jiang et al. 2021)

Two epsilons. Ours is 0: alpha g = g / (2 + g S). The usual library adds 1e-6, which is not small beside g^2
of about 1e-8: it shrinks most weights, and the map with it. 1e-6 reproduces the library.

The guard. Where activations can be negative (SiLU, GELU), 2 + g S can reach zero and the weight would be
anything. It is held at 1 or above: no channel counts more than twice what it does where S is 0. With
activations that are not negative it is 2 or more, and the guard does nothing.
"""

from __future__ import annotations

import numpy as np

from flawscope.core.types import Array
from flawscope.runtime.explain.contract import Shown, explainer

LIBRARY_EPS = 1e-6  # of the usual library
_LEAST = 1.0  # of 2 + g S
_NEEDS = ("features", "share")


@explainer(
    "cam",
    summary="The evidence for the class, place by place; below 0 it speaks against.",
    paper="Zhou et al., CVPR 2016",
    outputs=("evidence",),
)
def cam(shown: Shown) -> Array:
    """Return the evidence for the class, float32 (N, h, w)."""
    return np.asarray(shown.outputs["evidence"][:, shown.target])


@explainer(
    "gradcam",
    summary="The evidence for the class without its bias, what speaks against cut off.",
    paper="Selvaraju et al., ICCV 2017",
    outputs=_NEEDS,
    head=True,
)
def gradcam(shown: Shown) -> Array:
    """Return Grad-CAM, float32 (N, h, w)."""
    return grad_cam(shown.features, shown.head.weight[shown.target])


@explainer(
    "gradcam++",
    summary="Grad-CAM with channels weighted so that small and several flaws count too.",
    paper="Chattopadhay et al., WACV 2018",
    outputs=_NEEDS,
    head=True,
)
def gradcam_plus_plus(shown: Shown) -> Array:
    """Return Grad-CAM++ with eps 0, float32 (N, h, w)."""
    return grad_cam_plus_plus(shown.features, shown.head.weight[shown.target], share=shown.outputs["share"])


def library_gradcam_plus_plus(shown: Shown) -> Array:
    """Return Grad-CAM++ with the usual library's eps, float32 (N, h, w): for what was published with it."""
    weight = shown.head.weight[shown.target]
    return grad_cam_plus_plus(shown.features, weight, share=shown.outputs["share"], eps=LIBRARY_EPS)


@explainer(
    "layercam",
    summary="Only what speaks for the class, channel by channel: finer than Grad-CAM.",
    paper="Jiang et al., IEEE TIP 2021",
    outputs=_NEEDS,
    head=True,
)
def layercam(shown: Shown) -> Array:
    """Return LayerCAM of the last map, float32 (N, h, w)."""
    return layer_cam(shown.features, shown.head.weight[shown.target], share=shown.outputs["share"])


def grad_cam(features: Array, weight: Array) -> Array:
    """Return Grad-CAM float32 (N, h, w) of features (N, C, h, w) for a class's head weights (C,)."""
    positions = features.shape[2] * features.shape[3]
    mixed = _mixed(features, np.broadcast_to(weight / positions, features.shape[:2]))
    return np.asarray(np.maximum(mixed, 0))


def grad_cam_plus_plus(
    features: Array, weight: Array, *, share: Array | None = None, eps: float = 0
) -> Array:
    """Return Grad-CAM++ float32 (N, h, w) of features (N, C, h, w) for a class's head weights (C,).

    `share` float32 (N, h, w) says how much of each position counts in the mean; None: all alike. `eps` 0 is
    ours, 1e-6 the usual library's.
    """
    count, channels = features.shape[:2]
    sums = features.sum((2, 3), dtype=np.float64)
    weights = np.zeros((count, channels), np.float32)
    positive = np.flatnonzero(weight > 0)  # relu(g): the others count for nothing
    for i in range(count):
        values, times = _distinct(None if share is None else share[i], features.shape[2] * features.shape[3])
        gradients = weight[positive, None].astype(np.float64) * values  # (channels, different values)
        least = np.maximum(2 + gradients * sums[i, positive, None], _LEAST)
        alpha = 1 / (least + eps / gradients**2)
        weights[i, positive] = (alpha * gradients * times).sum(1)
    return np.asarray(np.maximum(_mixed(features, weights), 0))


def layer_cam(features: Array, weight: Array, *, share: Array | None = None) -> Array:
    """Return LayerCAM float32 (N, h, w) of features (N, C, h, w) for a class's head weights (C,); `share` as
    grad_cam_plus_plus says."""
    speaking = np.maximum(weight, 0)
    found = np.maximum(_mixed(features, np.broadcast_to(speaking, features.shape[:2])), 0)
    if share is None:
        return np.asarray(found / (features.shape[2] * features.shape[3]), np.float32)
    return np.asarray(found * share / np.maximum(share.sum((1, 2), keepdims=True), 1e-6), np.float32)


def _mixed(features: Array, weights: Array) -> Array:
    """Return the sum over channels of features (N, C, h, w) by weights (N, C), float32 (N, h, w)."""
    count, channels, rows, columns = features.shape
    flat = features.reshape(count, channels, rows * columns)
    mixed = np.matmul(weights[:, None].astype(np.float32), flat)
    return np.asarray(mixed.reshape(count, rows, columns), np.float32)


def _distinct(share: Array | None, positions: int) -> tuple[Array, Array]:
    """Return the different shares above 0, scaled so that all add up to one, and how many positions have
    each: cells at a picture's border differ, all inside are alike."""
    if share is None:
        return np.array([1 / positions]), np.array([positions])
    values, times = np.unique(share[share > 0].astype(np.float64), return_counts=True)
    return (values / (values * times).sum(), times) if len(values) else (values, times)
