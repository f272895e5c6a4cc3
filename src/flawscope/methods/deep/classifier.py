"""Classifiers whose network is trained: what is frozen runs once, the rest learns, the head is calibrated.

A method brings a `Body`, which gives the last map of a canvas; here stand the head (a 1x1 convolution before
the average, see methods/classifier.py), training with early stopping on SELECT, calibration, and the graph.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import nn
from torch.nn import functional

from flawscope.core.rng import derive
from flawscope.core.types import Array, Fit, Sample
from flawscope.imaging.augment import Augmentation, vary
from flawscope.methods.classifier import (
    Temperature,
    by_photograph,
    canvas_classes,
    class_indices,
    class_names,
    enough_to_calibrate,
    finish_classes,
    fit_temperature,
    give_head,
)
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.deep.blocks import channel_means, to_grid
from flawscope.methods.deep.canvases import (
    Canvases,
    Growing,
    load_canvases,
    load_shares,
    normalised,
)
from flawscope.methods.deep.export import to_onnx
from flawscope.methods.deep.loop import Batch, Course, Learnt, Watch, identity, run, seeded
from flawscope.methods.features import Geometry, by_level, give_levels
from flawscope.methods.finetune import NetworkConfig
from flawscope.methods.graph import GraphBuilder, canvas_input
from flawscope.runtime.backbone import BackboneCard
from flawscope.runtime.session import LEARNT_KEY, GraphSession

LOOKS = 30  # at SELECT, in a whole course
_BATCH = 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Body:
    """What stands under the head."""

    name: str
    frozen: Any  # onnx.ModelProto from normalised images to a map, or None
    network: nn.Module  # from that map, or from normalised images, to the last map
    input_shape: tuple[int, int, int]  # what the network takes: (C, h, w)
    channels: int
    grid_hw: tuple[int, int]
    views: int = 0  # of each photograph that the frozen part sees; without one every step varies anew
    rates: Mapping[str, float] = field(default_factory=dict)  # by the start of a weight's name: its share of
    # the learning rate
    norm: bool = (
        False  # whether the head learns on channels of one spread; its weights are for the map as it is
    )


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained classifier, and what it was taught with and chosen by."""

    names: tuple[str, ...]
    classifier: Classifier
    taught: Seen  # of FIT
    taught_samples: tuple[Sample, ...]
    judged: Seen | None  # of SELECT; None where that is too small to choose by
    judged_samples: tuple[Sample, ...]
    notes: Mapping[str, Any]  # what its checkpoints were worth

    def by_photograph(self, card: BackboneCard) -> tuple[Array, Array]:
        """Return the raw logits (n, K) of SELECT's photographs, and their classes (n,)."""
        assert self.judged is not None
        logits = by_photograph(raw_logits(self.classifier, self.judged, card), self.judged.owners)
        owners = sorted(logits)
        truth = class_indices(self.judged_samples, self.names)[owners]
        return np.stack([logits[owner] for owner in owners]), truth


def fit(body: Body, config: NetworkConfig, data: FitData, context: FitContext) -> Any:
    """Train body and head on labelled photographs; return the bundle's graph.

    Raises DataError where FIT lacks good or bad ones.
    """
    learned = learn(body, config, data, context)
    temperature = Temperature()
    if learned.judged is not None:
        temperature = fit_temperature(*learned.by_photograph(context.backbone.card))[0]
    graph = GraphBuilder()
    features, content = look(graph, body, exported(body, learned.classifier), context)
    weights, bias = temperature.folded(*head_of(learned.classifier))
    offset = graph.constant(bias.astype(np.float32), "head_bias")
    where = Geometry(context.preprocess.size_hw, body.grid_hw, (body.grid_hw,), (body.channels,))
    give_levels(graph, [features], where.shapes)
    (weight,) = by_level(graph, weights, where)
    give_head(graph, [weight], offset, count=len(learned.names))
    evidence = graph.add("Conv", features, weight, offset)
    ending = config.ending(context.preprocess, body.grid_hw)
    model = finish_classes(graph, evidence, content, ending, names=learned.names, halves=False)
    return noted(model, learned.notes)


def learn(body: Body, config: NetworkConfig, data: FitData, context: FitContext) -> Learned:
    """Train body and head on labelled photographs. Raises DataError where FIT lacks good or bad ones."""
    names = class_names(data.fit, config.classes)
    fit_samples = tuple(sample for sample in data.fit if sample.label is not None)
    taught = _seen(fit_samples, body, config, context, names, views=body.views)
    select = tuple(sample for sample in data.select if sample.label is not None)
    judged = None
    if enough_to_calibrate(class_indices(select, names)):
        judged = _seen(select, body, config, context, names, views=min(body.views, 1))
    else:
        _log.warning(
            "SELECT holds too few good and bad parts: training runs to its end, and probabilities are taken "
            "as they come."
        )
    with seeded(context.seed, body.name, "head"):
        norm = nn.BatchNorm2d(body.channels) if body.norm else nn.Identity()
        classifier = Classifier(body.network, nn.Conv2d(body.channels, len(names), 1), norm)
    weights = _class_weights(taught.classes, len(names)) if config.balance == "weights" else None
    steps = config.training.steps
    watch = None
    if judged is not None:
        watch = Watch(_Look(judged, context.backbone.card), max(1, steps // LOOKS), config.patience)
    course = Course(
        name="Teaching",
        objective=Objective(classifier, weights, config.label_smoothing),
        draw=_Drawn(taught, context.backbone.card, config.training.batch, context.seed, config.balance),
        settings=config.training,
        key=identity(body.name, config, data, context),
        watch=watch,
        rates={f"classifier.body.{start}": share for start, share in body.rates.items()},
    )
    learnt = run(course, context)
    notes = _choose(course.objective, learnt, judged, config, context.backbone.card)
    return Learned(names, classifier.eval(), taught, fit_samples, judged, select, notes)


class Classifier(nn.Module):
    """Body and head: evidence position by position, its mean over what shows judged picture."""

    def __init__(self, body: nn.Module, head: nn.Conv2d, norm: nn.Module) -> None:
        super().__init__()
        self.body, self.norm, self.head = body, norm, head

    def forward(self, values: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K)."""
        evidence = self.head(self.norm(self.body(values)))
        weights = to_grid(shares[:, None], (evidence.shape[2], evidence.shape[3]))
        return channel_means(evidence, weights)


class Objective(nn.Module):
    """The loss: cross entropy with class weights and smoothed labels."""

    def __init__(self, classifier: Classifier, weights: Array | None, smoothing: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.smoothing = smoothing
        self.register_buffer("weights", None if weights is None else torch.from_numpy(weights).float())

    def forward(self, values: torch.Tensor, shares: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        logits = self.classifier(values, shares)
        return functional.cross_entropy(
            logits.float(), classes, weight=self.weights, label_smoothing=self.smoothing
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """Canvases as the trained part takes them."""

    values: Array  # float16 (views * n, C, h, w) of the frozen part, view after view; or uint8 (n, H, W, 3)
    shares: Array  # float32 (n, h, w)
    classes: Array  # int64 (n,), of each canvas
    owners: Array  # int64 (n,), which sample
    views: int  # 0: values are pixels
    augmentation: Augmentation

    def tensors(self, chosen: Array, views: Array, card: BackboneCard) -> torch.Tensor:
        """Return the inputs of some canvases in some views."""
        if self.views:
            rows = np.ascontiguousarray(self.values[views * len(self.shares) + chosen])
            return torch.from_numpy(rows).float()
        return normalised(self.values[chosen], card)


def _seen(
    samples: Sequence[Sample],
    body: Body,
    config: NetworkConfig,
    context: FitContext,
    names: Sequence[str],
    *,
    views: int,
) -> Seen:
    canvases = load_canvases(samples, context)
    shares = load_shares(canvases, context, body.grid_hw)
    classes = class_indices(samples, names)[canvases.owners]
    if context.preprocess.fit is Fit.TILES:
        classes = canvas_classes(samples, canvases.owners, canvases.windows_xyxy, names=names)
    values = canvases.pixels
    if body.frozen is None:
        views = 0
    else:
        views = max(views, 1)
        values = _looked(canvases, body, config.augmentation, context, views=views)
    return Seen(values, shares, classes, canvases.owners, views, config.augmentation)


def _looked(
    canvases: Canvases, body: Body, augmentation: Augmentation, context: FitContext, *, views: int
) -> Array:
    """Return the frozen part's maps of all canvases in so many views, the first of which is the canvas as it
    is."""
    graph = GraphBuilder()
    image, _ = canvas_input(graph, context.preprocess, context.backbone)
    (value,) = graph.include(body.frozen, inputs=[image], prefix="trunk")
    graph.output("map", value, TensorProto.FLOAT, ["N", *body.input_shape])
    session = GraphSession(graph.model(halves=False), threads=context.threads)
    height, width = context.preprocess.size_hw
    whole = np.array([[0, 0, width, height]], np.float32)
    kept = Growing(body.input_shape, np.dtype(np.float16), expected=views * len(canvases))
    with context.progress.stage("Looking", views * len(canvases)) as stage:
        for view in range(views):
            for start in range(0, len(canvases), _BATCH):
                pixels = np.array(canvases.pixels[start : start + _BATCH])
                if view:
                    for i in range(len(pixels)):
                        rng = derive(context.seed, "view", view, start + i)
                        pixels[i] = vary(pixels[i], augmentation, rng)
                kept.add(session.run(pixels, np.tile(whole, (len(pixels), 1)), names=("map",))["map"])
                stage.advance(len(pixels))
    return kept.array()


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Draws labelled canvases: rare classes as often as common ones with the sampler, all alike otherwise."""

    seen: Seen
    card: BackboneCard
    size: int
    seed: int
    balance: str

    def __call__(self, step: int) -> Batch:
        """Return inputs, shares and classes."""
        rng = derive(self.seed, "draw", step)
        classes = self.seen.classes
        odds = np.ones(len(classes))
        if self.balance == "sampler":
            odds = 1 / np.bincount(classes)[classes]
        chosen = rng.choice(len(classes), self.size, p=odds / odds.sum())
        views = rng.integers(max(self.seen.views, 1), size=self.size)
        if self.seen.views:
            values = self.seen.tensors(chosen, views, self.card)
        else:
            pixels = [vary(self.seen.values[i], self.seen.augmentation, rng) for i in chosen]
            values = normalised(np.stack(pixels), self.card)
        shares = torch.from_numpy(self.seen.shares[chosen])
        return values, shares, torch.from_numpy(classes[chosen])


def raw_logits(classifier: Classifier, seen: Seen, card: BackboneCard) -> Array:
    """Return the logits of canvases as they are, float32 (n, K)."""
    device = classifier.head.weight.device
    found = []
    with torch.no_grad():
        for start in range(0, len(seen.classes), _BATCH):
            chosen = np.arange(start, min(start + _BATCH, len(seen.classes)))
            values = seen.tensors(chosen, np.zeros_like(chosen), card).to(device)
            shares = torch.from_numpy(seen.shares[chosen]).to(device)
            found.append(classifier(values, shares).float().cpu().numpy())
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class _Look:
    """Judges SELECT: cross entropy, and accuracy as the mean over classes, so that rare ones count."""

    seen: Seen
    card: BackboneCard

    def __call__(self, objective: nn.Module) -> Mapping[str, float]:
        logits = raw_logits(objective.classifier, self.seen, self.card)
        known = self.seen.classes >= 0
        logits, classes = torch.from_numpy(logits[known]), torch.from_numpy(self.seen.classes[known])
        hits = (logits.argmax(1) == classes).double()
        shares = [float(hits[classes == one].mean()) for one in classes.unique()]
        return {
            "loss": float(functional.cross_entropy(logits, classes)),
            "accuracy": float(np.mean(shares)),
            "f1": _f1(logits.argmax(1).numpy() > 0, classes.numpy() > 0),
        }


def _f1(called: Array, bad: Array) -> float:
    """Return the F1 of calling parts bad, 0 to 1."""
    hits = int((called & bad).sum())
    return 2 * hits / max(int(called.sum()) + int(bad.sum()), 1)


def _choose(
    objective: nn.Module, learnt: Learnt, judged: Seen | None, config: NetworkConfig, card: BackboneCard
) -> dict[str, Any]:
    """Load the weights that the configuration asks for; return what each checkpoint is worth on SELECT."""
    notes: dict[str, Any] = {"steps": learnt.steps}
    if judged is None:
        return notes
    # what is kept comes last and so stays loaded
    for name in sorted(learnt.best, key=lambda name: name == config.checkpoint):
        objective.load_state_dict(learnt.best[name])
        found = _Look(judged, card)(objective.eval())
        notes[name] = {key: round(value, 4) for key, value in found.items()}
    notes["kept"] = config.checkpoint
    return notes


def _class_weights(classes: Array, count: int) -> Array:
    """Return weights with which every class counts alike, their mean over the samples being one."""
    counts = np.bincount(classes, minlength=count)
    return len(classes) / (count * np.maximum(counts, 1))


def exported(body: Body, classifier: Classifier) -> Any:
    """Return the trained part as an onnx.ModelProto, or None where nothing under the head was trained."""
    if not any(True for _ in classifier.body.parameters()):
        return None
    example = torch.randn((3, *body.input_shape), generator=torch.Generator().manual_seed(0))
    return to_onnx(classifier.body, [example], outputs=["features"], name=body.name)


def look(graph: GraphBuilder, body: Body, trained: Any, context: FitContext) -> tuple[str, str]:
    """Append the canvas, what is frozen and what `exported` gave; return the last map (N, C, h, w) and
    `content_xyxy`."""
    value, content = canvas_input(graph, context.preprocess, context.backbone)
    if body.frozen is not None:
        (value,) = graph.include(body.frozen, inputs=[value], prefix="trunk")
    if trained is not None:
        (value,) = graph.include(trained, inputs=[value], prefix=body.name)
    return value, content


def head_of(classifier: Classifier) -> tuple[Array, Array]:
    """Return the head's raw weights float64 (C, K) and bias (K,), for the last map as it is."""
    weights = classifier.head.weight.detach().cpu().double().numpy()[:, :, 0, 0].T
    bias = classifier.head.bias.detach().cpu().double().numpy()
    if not isinstance(classifier.norm, nn.BatchNorm2d):
        return weights, bias
    norm = {name: value.cpu().double().numpy() for name, value in classifier.norm.state_dict().items()}
    scale = norm["weight"] / np.sqrt(norm["running_var"] + classifier.norm.eps)
    return weights * scale[:, None], bias + (norm["bias"] - norm["running_mean"] * scale) @ weights


def noted(model: Any, notes: Mapping[str, Any]) -> Any:
    """Write what the checkpoints were worth into a model's metadata; return it."""
    model.metadata_props.add(key=LEARNT_KEY, value=json.dumps(dict(notes), sort_keys=True))
    return model
