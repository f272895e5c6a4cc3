"""Trained modules as ONNX: any batch, ONNX's own operations only, checked against torch's answer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from flawscope.core.errors import ConfigError
from flawscope.core.types import Array
from flawscope.methods.contract import FitContext
from flawscope.methods.features import Geometry, geometry, give_levels
from flawscope.methods.graph import IR_VERSION, OPSET, GraphBuilder, canvas_input, finish, over_picture
from flawscope.methods.settings import SmoothConfig

_MOST_CHANNELS = 1024  # of features given out
TOLERANCE = 1e-3  # largest difference between torch and ONNX, as a share of the largest value


def to_onnx(
    module: torch.nn.Module, examples: Sequence[torch.Tensor], *, outputs: Sequence[str], name: str
) -> Any:
    """Return a module in evaluation mode as an ONNX model whose first dimension is free.

    `examples` are inputs of a batch of at least 2; the outputs get these names. `name` is for messages.
    Raises ConfigError where the module cannot be exported so, or where ONNX does not do what torch does.
    """
    module = module.eval()
    inputs = [f"input_{i}" for i in range(len(examples))]
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's advice to its own developers
        try:
            program = torch.onnx.export(
                _Listed(module),
                (list(examples),),
                input_names=inputs,
                output_names=list(outputs),
                dynamo=True,
                dynamic_shapes=([{0: dynamic} for _ in examples],),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigError(
                f"{name} cannot be exported for any batch",
                found=str(error.__cause__ or error).strip().split("\n", 1)[0],
            ) from error
    model = stripped(program.model_proto, name=name)
    _check_batch(model, name)
    _check_agreement(module, examples, model, name)
    return model


class _Listed(torch.nn.Module):
    """A module whose inputs come as one list: the exporter wants their number in the signature."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, values: list[torch.Tensor]) -> Any:
        """Run the module."""
        return self.module(*values)


def stripped(model: Any, *, name: str) -> Any:
    """Take the exporter's notes out of a model (they hold paths of this machine). Raises ConfigError where it
    needs more than ONNX's own operations."""
    if len(model.functions) or any(entry.domain for entry in model.opset_import):
        raise ConfigError(f"The exported graph of {name} needs operations that ONNX itself does not have")
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.name = name
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    model.ir_version = IR_VERSION
    return model


def _check_batch(model: Any, name: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        if batch.HasField("dim_value"):
            raise ConfigError(
                f"The exported graph of {name} has a fixed batch", found=f"{value.name}: {batch.dim_value}"
            )
        batch.dim_param = "N"
    onnx.checker.check_model(model)


def _check_agreement(
    module: torch.nn.Module, examples: Sequence[torch.Tensor], model: Any, name: str
) -> None:
    """Raise ConfigError unless ONNX gives what torch gives, one by one and together."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    with torch.no_grad():
        for size in (1, len(examples[0])):
            batch = [example[:size] for example in examples]
            wanted = module(*batch)
            listed = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
            found = session.run(None, {f"input_{i}": value.numpy() for i, value in enumerate(batch)})
            for got, want in zip(found, (value.numpy() for value in listed), strict=True):
                gap = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))
                if not (got.shape == want.shape and gap < TOLERANCE):
                    raise ConfigError(
                        f"{name}: ONNX and torch disagree",
                        expected=f"a difference below {TOLERANCE:g} in {want.shape}",
                        found=f"{gap:.2g} in {got.shape}",
                    )


@dataclass(frozen=True, eq=False)
class Head:
    """What of the graph a trained module is: its inputs are, in this order, the normalised image (where
    `pixels`), the backbone's levels (where `levels`) and how much of each position shows judged picture,
    (N, h, w) (where `shares`); its output is a distance per position, (N, h, w), never negative, and (where
    `scores`) a positive score (N,) of its own beside it. The distance is divided by what is usual at each
    `place` of the picture, where that is given."""

    module: torch.nn.Module
    grid_hw: tuple[int, int]  # of its output
    pixels: bool = False
    levels: bool = True
    shares: bool = False
    scores: bool = False
    places: Array | None = None  # float32 (h, w)


def distance_graph(head: Head, context: FitContext, config: SmoothConfig, *, name: str) -> Any:
    """Return the bundle's graph around a trained module that gives distances."""
    where = geometry(context.backbone, context.preprocess.size_hw) if head.levels else None
    height, width = context.preprocess.size_hw
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, height, width)] if head.pixels else []
    if where is not None:
        shapes += [(count, *grid) for count, grid in zip(where.channels, where.level_grids, strict=True)]
    examples = [torch.randn((3, *shape), generator=generator) for shape in shapes]
    if head.shares:
        examples.append(torch.rand((3, *head.grid_hw), generator=generator))
    outputs = ["distance", "score"] if head.scores else ["distance"]
    trained = to_onnx(head.module, examples, outputs=outputs, name=name)
    ending = config.ending(context.preprocess, head.grid_hw)
    graph = GraphBuilder()
    image, content = canvas_input(graph, context.preprocess, context.backbone)
    inputs = [image] if head.pixels else []
    if where is not None:
        levels = graph.include(context.backbone.model, inputs=[image])
        inputs += levels
        _give(graph, levels, where)
    if head.shares:
        inputs.append(ending.share(graph, content))
    distance, *score = graph.include(trained, inputs=inputs, prefix=name)
    if head.places is not None:
        here = over_picture(graph, head.places, content, context.preprocess.size_hw)
        distance = graph.add("Div", distance, here)
    finish(graph, distance, content, ending, score=score[0] if score else "")
    return graph.model(halves=False)  # the backbone is halved already; what was trained stays exact


def _give(graph: GraphBuilder, levels: Sequence[str], where: Geometry) -> None:
    """Give the backbone's levels out as features: all of them or, where that is too much to compare by (the
    blocks of a transformer), the last."""
    kept = slice(None) if sum(where.channels) <= _MOST_CHANNELS else slice(-1, None)
    give_levels(graph, levels[kept], where.shapes[kept])
