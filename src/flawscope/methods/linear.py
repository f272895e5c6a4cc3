"""A linear head on frozen features: multinomial logistic regression on their mean over the picture.

The usual linear probe (Alain and Bengio, Understanding Intermediate Layers Using Linear Classifier Probes,
2016). Where we depart: features of several levels and several views, classes weighted, the penalty chosen by
samples that were not taught, and the head applied position by position before the mean, so that the evidence
adds up to the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flawscope.core.registry import Kind, register
from flawscope.core.types import Array
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.frozen import FrozenConfig, Head, Problem, fit_frozen

_STEPS = 500


@dataclass(frozen=True)
class LinearConfig(FrozenConfig):
    """Settings of linear."""


@register(
    "linear",
    kind=Kind.SUPERVISED,
    summary="Logistic regression on frozen features. Teaches in seconds from labelled good and bad parts.",
    paper="Alain and Bengio, 2016",
)
class Linear:
    """Logistic regression on pooled features."""

    Config = LinearConfig

    def __init__(self, config: LinearConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Teach the head and calibrate it; return the graph."""
        return fit_frozen(data, context, self._config, logistic)


def logistic(vectors: Array, indices: Array, problem: Problem, start: Head | None) -> Head:
    """Return weights (C, K) and bias (K,) that minimise the weighted mean cross entropy of rows (n, C) of
    classes (n,) plus half the penalty times the squared weights; the bias is free."""
    from scipy.optimize import minimize

    channels, count = vectors.shape[1], problem.classes
    truth = np.eye(count)[indices]

    def loss(flat: Array) -> tuple[float, Array]:
        weights, bias = flat[:-count].reshape(channels, count), flat[-count:]
        logits = vectors @ weights + bias
        logits -= logits.max(1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(1, keepdims=True)
        value = problem.weights @ (np.log(sums[:, 0]) - (truth * logits).sum(1))
        slope = (powers / sums - truth) * problem.weights[:, None]
        down = np.concatenate([(vectors.T @ slope + problem.penalty * weights).ravel(), slope.sum(0)])
        return float(value + 0.5 * problem.penalty * (weights**2).sum()), down

    first = (
        np.zeros((channels + 1) * count)
        if start is None
        else np.concatenate([each.ravel() for each in start])
    )
    options = {"maxiter": _STEPS, "ftol": 1e-12, "gtol": 1e-7}
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x
    weights, bias = found[:-count].reshape(channels, count), found[-count:]
    return weights, bias - bias.mean()  # a bias common to all classes says nothing
