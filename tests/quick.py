"""Methods made quick to teach, and labelled parts, as the tests of methods share them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from onnx import TensorProto, helper, numpy_helper

from flawscope.core.config import build
from flawscope.core.registry import Entry
from flawscope.core.types import Sample
from flawscope.methods.contract import FitContext, FitData

# with these a network learns the chips in seconds
QUICK: dict[str, dict[str, Any]] = {
    "dinomaly": {"depth": 3, "training": {"steps": 180, "batch": 4}},
    "stfpm": {"width": 16, "training": {"steps": 80, "batch": 4}},
    "reverse_distillation": {"width": 32, "training": {"steps": 160, "batch": 4, "learning_rate": 0.01}},
    "fastflow": {"couplings": 4, "width": 16, "training": {"steps": 60, "batch": 4}},
    "draem": {
        "width": 8,
        "untouched": 0.1,
        "painted": 0.8,
        "largest": 0.02,
        "top_share": 0.003,
        "training": {"steps": 250, "batch": 4, "learning_rate": 6e-3},
    },
    "efficientad": {
        "width": 16,
        "distil_steps": 20,
        "training": {"steps": 100, "batch": 2, "learning_rate": 4e-3},
    },
    "supersimplenet": {
        "width": 64,
        "noise": 0.7,
        "training": {"steps": 120, "batch": 4, "learning_rate": 1e-3},
    },
    "cnn": {"width": 16, "patience": 0, "training": {"steps": 400, "batch": 16}},
    "ifm": {"views": 2, "bank": 300, "training": {"steps": 300, "batch": 32, "learning_rate": 0.01}},
    "finetune": {"views": 2, "training": {"steps": 400, "batch": 32, "learning_rate": 0.01}},
}

LOOKS_THROUGH_ITSELF = ("ifm",)  # methods whose fit runs the graph that they export


def params(entries: Iterable[Entry]) -> list[Any]:
    """Return methods as cases of a test; those that need torch are marked."""
    return [pytest.param(entry, id=entry.name, marks=_marks(entry)) for entry in entries]


def field_params(entries: Iterable[Entry], *, apart: Callable[[Entry, str], bool]) -> list[Any]:
    """Return every setting of methods as cases of a test, but those that stand `apart`."""
    return [
        pytest.param(entry, field, id=f"{entry.name}.{field.name}", marks=_marks(entry))
        for entry in entries
        for field in dataclasses.fields(entry.method.Config)
        if not apart(entry, field.name)
    ]


def _marks(entry: Entry) -> Any:
    return () if entry.extra is None else pytest.mark.deep


def made(entry: Entry, **settings: Any) -> Any:
    """Return the method with these settings, quick to train."""
    values = QUICK.get(entry.name, {}) | settings
    return entry.method(build(entry.method.Config, values, where=entry.name))


def hasty(entry: Entry, **settings: Any) -> Any:
    """Return the method so that it hardly learns: for what a graph shows however little was learned."""
    if entry.extra is not None:
        settings = {"training": QUICK[entry.name]["training"] | {"steps": 2}} | settings
    return made(entry, **settings)


def drawn_up(entry: Entry, method: Any, data: FitData, context: FitContext) -> bytes:
    """Return what a fitted graph's digest is taken of, a network's export replaced by its weights as they
    are: an export takes seconds, and the tests of what becomes of a graph see to it elsewhere."""
    if entry.extra is None or entry.name in LOOKS_THROUGH_ITSELF:
        return content(method.fit(data, context))
    from flawscope.methods.deep import classifier, export

    with (
        mock.patch.object(export, "to_onnx", _weights_alone),
        mock.patch.object(classifier, "to_onnx", _weights_alone),
    ):
        return content(method.fit(data, context))


def _weights_alone(module: Any, examples: Sequence[Any], *, outputs: Sequence[str], name: str) -> Any:
    """Return a graph of the same face as the export's that holds the weights and does nothing with them."""
    state = module.eval().state_dict()
    held = [numpy_helper.from_array(value.numpy(), f"held/{key}") for key, value in sorted(state.items())]
    kind, free = TensorProto.FLOAT, ["N"]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["input_0"], [output]) for output in outputs],
            name,
            [helper.make_tensor_value_info(f"input_{i}", kind, free) for i in range(len(examples))],
            [helper.make_tensor_value_info(output, kind, free) for output in outputs],
            initializer=held,
        )
    )


def content(model: Any) -> bytes:
    """Return what a graph's digest is taken of."""
    return model.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Labelled:
    """Drawn parts with their labels: to teach, to choose by, and to be judged."""

    fit: tuple[Sample, ...]
    select: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def data(self) -> FitData:
        """What a method is given."""
        return FitData(self.fit, self.select)


def few(labelled: Labelled, start: int = 0, count: int = 12) -> FitData:
    """Return so many good and fewer bad samples to teach from, and eight of each to choose by."""
    good = [sample for sample in labelled.fit if sample.is_good][start : start + count]
    bad = [sample for sample in labelled.fit if sample.is_bad][start : start + count - 2]
    return FitData((*good, *bad), (*labelled.select[:8], *labelled.select[12:20]))
