"""Reverse distillation: what the frozen backbone sees is squeezed into a small embedding, from which a
decoder that knows only good parts rebuilds it; what it cannot rebuild is the anomaly.

Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022. Where we depart:
the levels are those of the backbone (strides 8 and 16, the paper's are 4, 8 and 16); the decoder is made of
ResNet-18's blocks whatever the teacher is, with a 1x1 convolution to the teacher's channels; AdamW with a
cosine takes the place of Adam at a constant rate. The loss takes the cosine over each flattened map, as the
authors' code does, and not position by position, as the paper's formula has it; padding and what is not
judged have no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training


@dataclass(frozen=True)
class ReverseDistillationConfig(MapConfig):
    """Settings of reverse_distillation."""

    width: int = setting(
        64,
        unit="channels at the finest level",
        low=4,
        high=512,
        help="A wider embedding and decoder rebuild more of what good parts show, and of flaws too; the "
        "graph grows with its square.",
        search=(32, 64, 128),
    )
    training: Training = setting(
        Training(steps=500, batch=8, learning_rate=2e-3, weight_decay=1e-4),
        help="How bottleneck and decoder are trained.",
    )


@register(
    "reverse_distillation",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="A decoder rebuilds the backbone's levels from a small embedding and fails on flaws.",
    paper="Deng and Li, CVPR 2022",
)
class ReverseDistillation:
    """A decoder behind a frozen teacher and a bottleneck."""

    Config = ReverseDistillationConfig

    def __init__(self, config: ReverseDistillationConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train bottleneck and decoder on good parts; return the graph."""
        from flawscope.methods.deep import reverse_distillation

        return reverse_distillation.fit(self._config, data, context)
