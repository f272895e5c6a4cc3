"""A graph opened by onnxruntime: threads and providers as arguments, outputs by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from flawscope.core.errors import BundleError
from flawscope.core.types import Array

CLASSES_KEY = "flawscope.classes"  # in the model's metadata: the names of the logits as a JSON list
LEARNT_KEY = "flawscope.learnt"  # there too: what the checkpoints of a network were worth on SELECT, as JSON
_USUAL = ("score", "map", "logits")


class GraphSession:
    """An open graph with the inputs `image` uint8 (N, H, W, 3) and `content_xyxy` float32 (N, 4)."""

    def __init__(self, model: Any, *, threads: int = 0, providers: Sequence[str] = ()) -> None:
        """Open a graph given as a path, as bytes, or as an onnx.ModelProto. `threads` 0 lets onnxruntime
        choose; `providers` empty means the CPU. Raises BundleError where onnxruntime refuses it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if isinstance(model, Path):
            source: Any = str(model)
        else:
            source = model if isinstance(model, bytes) else model.SerializeToString()
        wanted = list(providers) or ["CPUExecutionProvider"]
        missing = [name for name in wanted if name not in onnxruntime.get_available_providers()]
        if missing:
            raise BundleError(
                f"onnxruntime has no {', '.join(missing)} here",
                expected="one of " + ", ".join(onnxruntime.get_available_providers()),
                remedy="See: flawscope doctor",
            )
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=wanted)
        except Exception as error:  # onnxruntime's errors share no public base class
            raise BundleError("onnxruntime cannot open the graph", found=str(error)) from error
        self.output_names = tuple(output.name for output in self._session.get_outputs())
        self.input_shape = tuple(self._session.get_inputs()[0].shape)
        self.providers = tuple(self._session.get_providers())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.classes = _classes(self.metadata.get(CLASSES_KEY))
        self._usual = tuple(name for name in _USUAL if name in self.output_names) or self.output_names

    def run(self, pixels: Array, content_xyxy: Array, *, names: Sequence[str] = ()) -> dict[str, Array]:
        """Run canvases uint8 (N, H, W, 3) and where their pictures lie; return the outputs by name: those in
        `names`, or `score`, `map` and, where there are classes, `logits` (all, for a graph with none of
        these). Raises BundleError where onnxruntime cannot run them, or has no output of such a name."""
        wanted = tuple(names) or self._usual
        missing = [name for name in wanted if name not in self.output_names]
        if missing:
            raise BundleError(
                f"The graph has no output {', '.join(missing)}",
                expected="among " + ", ".join(self.output_names),
            )
        try:
            values = self._session.run(list(wanted), {"image": pixels, "content_xyxy": content_xyxy})
        except Exception as error:  # onnxruntime's errors share no public base class
            raise BundleError(
                "onnxruntime cannot run the graph", found=str(error), remedy="See: flawscope doctor"
            ) from error
        return dict(zip(wanted, (np.asarray(value) for value in values), strict=True))


def _classes(text: str | None) -> tuple[str, ...]:
    """Read the class names of a graph's metadata; none where it has no classes."""
    if text is None:
        return ()
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise BundleError("The graph does not name its classes", expected="a JSON list", found=text[:80])
    return tuple(names)
