"""The classic baseline: a linear support vector machine on frozen features.

Cortes and Vapnik, Support-Vector Networks, 1995; squared hinge, one class against the rest. Its margins
become probabilities by Platt's scaling (1999). The features are those of `linear`.
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
class SvmConfig(FrozenConfig):
    """Settings of svm."""


@register(
    "svm",
    kind=Kind.SUPERVISED,
    summary="Linear support vector machine on frozen features: the classic baseline, taught in seconds.",
    paper="Cortes and Vapnik, 1995",
)
class Svm:
    """A linear support vector machine on pooled features."""

    Config = SvmConfig

    def __init__(self, config: SvmConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Teach the machine and calibrate it; return the graph."""
        return fit_frozen(data, context, self._config, squared_hinge)


def squared_hinge(vectors: Array, indices: Array, problem: Problem, start: Head | None) -> Head:
    """Return weights (C, K) and bias (K,), one machine a class against the rest: each minimises the weighted
    mean of max(0, 1 - margin)^2 over rows (n, C) plus half the penalty times the squared weights; the bias is
    free. Two classes are one problem, whose answer is shared with opposite signs."""
    from scipy.optimize import minimize

    machines = range(1, 2) if problem.classes == 2 else range(problem.classes)
    weights = np.zeros((vectors.shape[1], problem.classes))
    bias = np.zeros(problem.classes)
    for number in machines:
        sides = np.where(indices == number, 1.0, -1.0)

        def loss(flat: Array, sides: Array = sides) -> tuple[float, Array]:
            short = np.maximum(0.0, 1.0 - sides * (vectors @ flat[:-1] + flat[-1]))
            slope = -2.0 * problem.weights * short * sides
            down = np.append(vectors.T @ slope + problem.penalty * flat[:-1], slope.sum())
            value = problem.weights @ short**2 + 0.5 * problem.penalty * (flat[:-1] ** 2).sum()
            return float(value), down

        first = np.zeros(vectors.shape[1] + 1)
        if start is not None:
            first = np.append(start[0][:, number], start[1][number])
        options = {"maxiter": _STEPS, "ftol": 1e-12, "gtol": 1e-7}
        found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options).x
        weights[:, number], bias[number] = found[:-1], found[-1]
    if problem.classes == 2:
        weights[:, 0], bias[0] = -weights[:, 1], -bias[1]
    return weights, bias
