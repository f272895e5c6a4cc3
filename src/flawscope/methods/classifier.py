"""The contract of supervised methods, and what all of them share.

What they are given. FitData.fit holds labelled good and bad samples, FitData.select labelled ones too. The
classes are ("good", ...): with the setting `classes` at `two` the second is "defect" and holds everything
bad, with `all` every defect's name in FIT is a class of its own, sorted.

What they give back. A linear head is a 1x1 convolution before the average pooling. `evidence` (N, K, h, w) is
each position's logit; `logits` (N, K) are the mean of the evidence over the positions, weighted by the share
of each position's cell that shows a judged part of the picture: exactly, so that the evidence adds up to the
answer and padding never scores. The temperature, and an offset that fits the mix of good and bad parts, are
folded into weights and bias: softmax(logits) are the calibrated probabilities.

    score (N,)         logsumexp(logits of the bad classes) - logit of good: the log-odds of bad, of any sign
    map (N, H, W)      softplus of the same log-odds position by position, brought up, smoothed and masked
    logits, evidence   as above
    features           (N, C, h, w) under the head; further levels as features_1, ..., on their own grids
    head_weight        (K, C) over all levels' channels; head_bias (K,): evidence is head_weight times all
                       levels, brought to the first one's grid, plus head_bias, exactly
    share              (N, h, w), how much of each position's cell shows a judged part of the picture

The class names stand in the model's metadata (`flawscope.classes`, a JSON list) and in the bundle's manifest.
`head` and `finish_classes` write all of that; `fit_temperature` finds the temperature.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from flawscope.core.config import Span, setting
from flawscope.core.errors import DataError
from flawscope.core.types import GOOD, Array, Sample
from flawscope.imaging.augment import FLIPS, Augmentation
from flawscope.imaging.read import read_mask
from flawscope.methods.features import Geometry, convolved, give_levels
from flawscope.methods.graph import Ending, GraphBuilder, finish
from flawscope.methods.settings import SmoothConfig
from flawscope.runtime.session import CLASSES_KEY

DEFECT = "defect"
FEWEST = 4  # photographs of a good or bad class on which a temperature can be fitted
_log = logging.getLogger(__name__)
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)  # of the logits beside another sign
_USUAL_SHARE = 0.2  # measured on magnetic tiles with 8 and 32 labelled flaws
_SCALES = (0.02, 50.0)  # of the logits: beyond, the samples say nothing of the temperature


@dataclass(frozen=True)
class ClassifierConfig(SmoothConfig):
    """Settings that every supervised method shares; a method's own configuration extends it."""

    classes: str = setting(
        "two",
        choices=("two", "all"),
        help="two tells good from bad, all names the defect as well; a few photographs of each are needed.",
    )
    flips: str = setting(
        "none",
        choices=FLIPS,
        help="Which flips may serve as further views; none where orientation carries meaning.",
    )
    light: float = setting(
        0.1,
        unit="of the brightness and contrast",
        low=0,
        high=1,
        help="How much the light of further views differs: more forgives an unsteady lamp, and dim flaws.",
        search=Span(0, 0.3),
    )
    shift: float = setting(
        0.02,
        unit="of each side",
        low=0,
        high=0.5,
        help="How far further views are moved: more forgives parts that lie a little elsewhere.",
        search=Span(0, 0.1),
    )

    @property
    def augmentation(self) -> Augmentation:
        """How far further views go under these settings."""
        return Augmentation(self.flips, self.light, self.shift)


def class_names(samples: Sequence[Sample], classes: str) -> tuple[str, ...]:
    """Return the names of the classes that labelled samples hold: good first, then "defect" (`classes` two)
    or every defect's name, sorted (all). Raises DataError where good or bad ones are lacking."""
    defects = sorted({str(sample.label) for sample in samples if sample.is_bad})
    good = sum(sample.is_good for sample in samples)
    if not defects or not good:
        raise DataError(
            "Two classes are needed to tell good from bad",
            expected="photographs labelled good and photographs labelled with a defect",
            found=f"{good} good, {sum(sample.is_bad for sample in samples)} bad",
            remedy="Add what is lacking, or take a method that learns from good parts alone",
        )
    return (GOOD, *defects) if classes == "all" else (GOOD, DEFECT)


def class_indices(samples: Sequence[Sample], names: Sequence[str]) -> Array:
    """Return each sample's place in `names`, int64 (n,); -1 for a label that is none of them. Where the only
    bad class is "defect", every defect belongs to it."""
    return np.array([class_index(sample, names) for sample in samples], np.int64)


def class_index(sample: Sample, names: Sequence[str]) -> int:
    """Return a sample's place in `names`, as `class_indices` does."""
    if tuple(names) == (GOOD, DEFECT) and sample.is_bad:
        return 1
    return list(names).index(sample.label) if sample.label is not None and sample.label in names else -1


def canvas_classes(
    samples: Sequence[Sample], owners: Array, windows_xyxy: Array, *, names: Sequence[str]
) -> Array:
    """Return the class of every canvas, int64 (n,): that of the sample whose index is in `owners`. A tile of
    a bad photograph that shows none of its marked flaw is good; where the flaw is not marked, all of the
    photograph's tiles count as bad."""
    classes: Array = class_indices(samples, names)[owners]
    unmarked = 0
    for number, sample in enumerate(samples):
        rows = np.flatnonzero(owners == number) if sample.is_bad else np.empty(0, np.int64)
        if len(rows) < 2:
            continue
        if sample.mask_path is None:
            unmarked += 1
            continue
        mask = read_mask(sample.mask_path)
        for row in rows.tolist():
            left, top, right, bottom = windows_xyxy[row].tolist()
            if not mask[top:bottom, left:right].any():
                classes[row] = 0
    if unmarked:
        _log.warning("%d bad photographs have no mask: all their tiles count as bad.", unmarked)
    return classes


def by_photograph(logits: Array, owners: Array) -> dict[int, Array]:
    """Return each photograph's logits (K,): those of its canvas with the highest score, as on the line."""
    scores = log_odds(logits)
    found: dict[int, Array] = {}
    for owner in np.unique(owners).tolist():
        rows = np.flatnonzero(owners == owner)
        found[owner] = logits[rows[scores[rows].argmax()]]
    return found


@dataclass(frozen=True)
class Temperature:
    """What turns a classifier's raw logits into calibrated ones: `scale * logits`, and `offset` added to
    every bad class, with `slope` times a further sign of oddness where there is one."""

    scale: float = 1.0
    offset: float = 0.0
    slope: float = 0.0

    def folded(self, weights: Array, bias: Array) -> tuple[Array, Array]:
        """Return weights (C, K) and bias (K,) of a head that gives calibrated logits by itself."""
        shift = np.where(np.arange(len(bias)) > 0, self.offset, 0.0)
        return weights * self.scale, bias * self.scale + shift

    def applied(self, logits: Array, oddness: Array | None = None) -> Array:
        """Return calibrated logits (n, K); `oddness` is (n,)."""
        shift = self.offset if oddness is None else self.offset + self.slope * oddness[:, None]
        return logits * self.scale + np.where(np.arange(logits.shape[1]) > 0, shift, 0.0)


def fit_temperature(
    logits: Array, indices: Array, *, oddness: Array | None = None
) -> tuple[Temperature, float]:
    """Return the temperature with which logits (n, K) of samples that were not taught explain their classes
    (n,) best, and the mean negative log-likelihood that is left. `oddness` (n,), not below 0, is a further
    sign: how much each of the two counts is what ranks bad above good best (`_joined`), for a sign that is 0
    on most samples and large on a few follows no logistic law.

    The targets are Platt's (1999): a class seen n times is believed (n + 1) / (n + 2) at most, so that
    samples that are perfectly apart do not promise certainty. Samples of no class (-1) are left out. The
    probabilities hold for the mix of good and bad among these samples. Raises ValueError where good or bad
    ones are lacking.
    """
    from scipy.optimize import minimize

    known = indices >= 0
    logits, indices = logits[known].astype(np.float64), indices[known]
    if not ((indices == 0).any() and (indices > 0).any()):
        raise ValueError("a temperature needs good and bad samples")
    own, odd = 1.0, 0.0
    if oddness is not None:
        signs = oddness[known].astype(np.float64)
        own, odd = _joined(logits, signs, indices > 0)
        logits = Temperature(own, slope=odd).applied(logits, signs)
    count = logits.shape[1]
    seen = np.bincount(indices, minlength=count)[indices]
    doubt = 1 / (seen + 2)
    targets = np.tile(doubt[:, None] / (count - 1), count)
    targets[np.arange(len(indices)), indices] = 1 - doubt
    usual = float(np.median(np.abs(logits[:, 1:].max(1) - logits[:, 0]))) or 1.0
    scaled = logits / usual

    def made(parameters: Array) -> Temperature:
        return Temperature(np.exp(parameters[0]), parameters[1])

    def loss(parameters: Array) -> float:
        return cross_entropy(made(parameters).applied(scaled), targets)

    low, high = np.log(np.multiply(_SCALES, usual))
    start, bounds = [np.clip(0.0, low, high), 0.0], [(low, high), (-30.0, 30.0)]
    found = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds)
    best = made(found.x)
    scale = best.scale / usual
    return Temperature(scale * own, best.offset, scale * odd), float(found.fun)


def _joined(logits: Array, signs: Array, bad: Array) -> tuple[float, float]:
    """Return by how much to multiply logits (n, K) and signs (n,) so that their sum ranks bad (n,) above good
    best. Among those that rank about as well it is the one nearest to a fifth for the logits, each sign
    measured by its deviation: what was taught from few flaws claims more than it knows."""
    spread = float(log_odds(logits).std()) or 1.0
    most = float(signs.std())
    if most == 0:
        return 1.0, 0.0
    rated = []
    for share in _SHARES:
        both = Temperature(share / spread, slope=(1 - share) / most)
        ranking = _ranking(log_odds(both.applied(logits, signs)), bad)
        rated.append((round(ranking, 2), -abs(share - _USUAL_SHARE), both))
    best = max(rated, key=lambda one: one[:2])[2]
    return best.scale, best.slope


def _ranking(scores: Array, bad: Array) -> float:
    """Return how often a bad sample scores above a good one, ties counted half."""
    from scipy.stats import rankdata

    count = int(bad.sum())
    above = rankdata(scores)[bad].sum() - count * (count + 1) / 2
    return float(above / (count * (len(bad) - count)))


def cross_entropy(logits: Array, targets: Array) -> float:
    """Return the mean cross entropy of softmax(logits) (n, K) with target probabilities (n, K), in nats."""
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-(targets * logs).sum(1).mean())


def enough_to_calibrate(indices: Array) -> bool:
    """Say whether samples of these classes hold enough good and bad ones for a temperature."""
    return int((indices == 0).sum()) >= FEWEST and int((indices > 0).sum()) >= FEWEST


def log_odds(logits: Array) -> Array:
    """Return logsumexp(bad) - good of logits (n, K): what the graph calls score, float64 (n,)."""
    bad = logits[:, 1:].astype(np.float64)
    highest = bad.max(1)
    return np.asarray(highest + np.log(np.exp(bad - highest[:, None]).sum(1)) - logits[:, 0])


def head(
    graph: GraphBuilder, maps: Sequence[str], where: Geometry, *, parts: Sequence[str], bias: Array
) -> str:
    """Append the 1x1 convolution over the levels `maps`, give levels and weights out, and return the evidence
    (N, K, h, w). `parts` are the weights (K, C, 1, 1) of each level, as `by_level` gives them; `bias` is
    float (K,)."""
    offset = graph.constant(bias.astype(np.float32), "head_bias")
    give_levels(graph, maps, where.shapes)
    give_head(graph, parts, offset, count=len(bias))
    return convolved(graph, maps, where, weights=parts, offset=offset)


def give_head(graph: GraphBuilder, parts: Sequence[str], bias: str, *, count: int) -> None:
    """Give the head's weights, (K, C, 1, 1) a level, out as `head_weight` (K, C), and its bias (K,)."""
    flat = [graph.add("Reshape", part, graph.ints(count, -1)) for part in parts]
    weight = graph.add("Concat", *flat, attributes={"axis": 1}) if len(flat) > 1 else flat[0]
    graph.output("head_weight", weight, TensorProto.FLOAT, [count, "C"])
    graph.output("head_bias", bias, TensorProto.FLOAT, [count])


def finish_classes(
    graph: GraphBuilder,
    evidence: str,
    content_xyxy: str,
    ending: Ending,
    *,
    names: Sequence[str],
    halves: bool = True,
) -> Any:
    """Turn evidence (N, K, h, w) into the outputs `evidence`, `share`, `logits`, `map` and `score`; return
    the model with the class names in its metadata, its large constants in half precision where `halves`."""
    rows, columns = ending.grid_hw
    count = len(names)
    graph.output("evidence", evidence, TensorProto.FLOAT, ["N", count, rows, columns])
    share = ending.share(graph, content_xyxy)  # (N, h, w)
    graph.output("share", share, TensorProto.FLOAT, ["N", rows, columns])
    each = graph.add("Unsqueeze", share, graph.ints(1))
    both = graph.ints(2, 3)
    total = graph.add("ReduceSum", graph.add("Mul", evidence, each), both, attributes={"keepdims": 0})
    room = graph.add("Squeeze", graph.add("ReduceSum", each, both), both)  # (N, 1)
    logits = graph.add("Div", total, graph.add("Max", room, graph.floats(1e-6)))
    graph.output("logits", logits, TensorProto.FLOAT, ["N", count])
    heat = graph.add("Softplus", log_odds_maps(graph, evidence, count))
    finish(graph, heat, content_xyxy, ending, score=log_odds_maps(graph, logits, count), share=share)
    return graph.model(halves=halves, metadata={CLASSES_KEY: json.dumps(list(names))})


def log_odds_maps(graph: GraphBuilder, values: str, count: int) -> str:
    """Append logsumexp(bad) - good along axis 1: (N, K, ...) to (N, ...)."""
    axis = graph.ints(1)
    good, bad = graph.add_many("Split", values, graph.ints(1, count - 1), outputs=2, attributes={"axis": 1})
    if count > 2:
        highest = graph.add("ReduceMax", bad, axis)
        powers = graph.add("Exp", graph.add("Sub", bad, highest))
        bad = graph.add("Add", highest, graph.add("Log", graph.add("ReduceSum", powers, axis)))
    return graph.add("Squeeze", graph.add("Sub", bad, good), axis)
