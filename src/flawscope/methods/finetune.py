"""A classifier on a pretrained network, some of it trained further: transfer learning, attention on wish.

It unites three recipes: only the last layer, or the last stage, of a ResNet-50 trained on MVTec AD; CBAM (Woo
et al., CBAM: Convolutional Block Attention Module, ECCV 2018) on the last map; the best weights kept by loss
and by accuracy, as the quality risk score is trained. Where it departs from them: the head is a 1x1
convolution before the average, so that the evidence adds up to the answer; what is frozen runs once over a
few views of each photograph; probabilities are calibrated on SELECT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.methods.classifier import ClassifierConfig
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import Training

BALANCES = ("none", "weights", "sampler")
CHECKPOINTS = ("best_loss", "best_accuracy")


@dataclass(frozen=True)
class NetworkConfig(ClassifierConfig):
    """Settings that classifiers share whose network is trained."""

    balance: str = setting(
        "sampler",
        choices=BALANCES,
        help="How rare classes are made to count: drawn more often, weighted in the loss, or not at all.",
        search=BALANCES,
    )
    label_smoothing: float = setting(
        0.05,
        low=0,
        high=0.5,
        help="Doubt about every label: more keeps the network from being too sure.",
        search=Span(0, 0.2),
    )
    checkpoint: str = setting(
        "best_loss", choices=CHECKPOINTS, help="Which weights are kept, judged on SELECT."
    )
    patience: int = setting(
        10,
        unit="looks",
        low=0,
        high=1000,
        help="Stops after so many looks at SELECT (thirty in a whole course) that found nothing better; 0: "
        "never.",
    )
    training: Training = setting(
        Training(steps=1000, batch=32, learning_rate=3e-3, weight_decay=1e-3),
        help="How the network is trained.",
    )


@dataclass(frozen=True)
class FinetuneConfig(NetworkConfig):
    """Settings of finetune."""

    attention: str = setting(
        "none",
        choices=("none", "cbam"),
        help="cbam weighs channels, then places, of the last map.",
        search=("none", "cbam"),
    )
    trainable: str = setting(
        "head",
        help="head, last_stage, all, or the name of a stage (layer3, blocks.4): what comes before it stays "
        "frozen, its batch norm too.",
    )
    views: int = setting(
        4,
        unit="views a photograph",
        low=1,
        high=64,
        help="The photograph and variations of it that the frozen part looks at once: more forgives changes "
        "of light and place, and takes longer to teach.",
    )


@register(
    "finetune",
    kind=Kind.SUPERVISED,
    extra="train",
    summary="A pretrained network taught good from bad, frozen up to any stage, with attention on wish.",
    paper="He et al., 2016; Woo et al., ECCV 2018",
)
class Finetune:
    """A pretrained network with a head of its own."""

    Config = FinetuneConfig

    def __init__(self, config: FinetuneConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train on labelled photographs; return the graph."""
        from flawscope.methods.deep import classifier, finetune

        return classifier.fit(finetune.body(self._config, context), self._config, data, context)
