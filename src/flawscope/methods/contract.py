"""What a method is given and what it gives back.

A method is a class with a nested frozen dataclass `Config`, made with one, and `fit(data, context)`, which
returns the bundle's graph. It may be fitted any number of times; nothing of one fit is left for the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from flawscope.core.progress import Progress, Silent
from flawscope.core.types import Preprocess, Sample
from flawscope.methods.features import Embedding, FeatureStore
from flawscope.runtime.backbone import Backbone

CHECKPOINTS = "checkpoints"  # folders within the workshop's
CURVES = "learning"


@dataclass(frozen=True)
class FitData:
    """The samples a method may look at: FIT teaches, SELECT chooses (checkpoints, temperatures)."""

    fit: tuple[Sample, ...]
    select: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Workshop:
    """Where networks are trained: on what, how precisely, and where unfinished work is kept.

    `device` is auto, cpu, cuda or mps; `devices` how many of them share each step; `precision` is one of
    Lightning Fabric's (32-true, 16-mixed, bf16-mixed, ...), auto taking 16-mixed on cuda and 32-true
    elsewhere. In `folder` checkpoints and learning curves are kept; None keeps neither.
    """

    device: str = "auto"
    devices: int = 1
    precision: str = "auto"
    folder: Path | None = None
    tensorboard: bool = False
    save_seconds: float = 30.0  # between checkpoints


@dataclass(frozen=True, eq=False)
class FitContext:
    """All that a fit depends on beside the data and its own settings."""

    backbone: Backbone
    preprocess: Preprocess
    seed: int = 0
    threads: int = 0  # 0: as many as onnxruntime chooses
    progress: Progress = field(default_factory=Silent)
    workshop: Workshop = field(default_factory=Workshop)
    _stores: dict[Embedding, FeatureStore] = field(default_factory=dict)

    def features(self, embedding: Embedding) -> FeatureStore:
        """Return the store of features of this kind; folds and refits share it."""
        if embedding not in self._stores:
            self._stores[embedding] = FeatureStore(
                self.backbone, self.preprocess, embedding, threads=self.threads
            )
        return self._stores[embedding]


class Method(Protocol):
    """What every registered class can do."""

    def __init__(self, config: Any) -> None: ...

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Learn from `data` and return the bundle's graph, an onnx.ModelProto."""
