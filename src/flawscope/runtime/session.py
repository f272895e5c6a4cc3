"""A graph opened by onnxruntime: threads and providers as arguments, outputs by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from flawscope.core.errors import BundleError
from flawscope.core.types import Array


class GraphSession:
    """An open graph with the inputs `image` uint8 (N, H, W, 3) and `content_xyxy` float32 (N, 4)."""

    def __init__(self, model: Any, *, threads: int = 0, providers: Sequence[str] = ()) -> None:
        """Open a graph given as a path, as bytes, or as an onnx.ModelProto. `threads` 0 lets onnxruntime
        choose;
        `providers` empty means the CPU. Raises BundleError where onnxruntime refuses it."""
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

    def run(self, pixels: Array, content_xyxy: Array) -> dict[str, Array]:
        """Run canvases uint8 (N, H, W, 3) and where their pictures lie; return the outputs by name. Raises
        BundleError where onnxruntime cannot run them."""
        try:
            values = self._session.run(None, {"image": pixels, "content_xyxy": content_xyxy})
        except Exception as error:  # onnxruntime's errors share no public base class
            raise BundleError(
                "onnxruntime cannot run the graph", found=str(error), remedy="See: flawscope doctor"
            ) from error
        return dict(zip(self.output_names, (np.asarray(value) for value in values), strict=True))
