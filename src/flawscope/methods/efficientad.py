"""EfficientAD: a small student of a small teacher, and an autoencoder for what only the whole picture tells.

Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024, size
small. Where we depart, and why:

- `teacher` distilled: the teacher learns from the chosen backbone, not from a WideResNet-101, and on drawn
  textures, not on ImageNet: no set of photographs is needed. Minutes teach it little of what the backbone
  says, so the default is the backbone itself (`teacher` backbone), which then stands in the graph. Either way
  what is taught are the main directions of the backbone's levels, turned at random, so that no channel is
  weak and normalising channels blows up no noise.
- The student's difference to the teacher is measured in units of how good parts differ, all channels together
  (a Mahalanobis distance), and the map in units of what is usual at each place (`by_place`): what the student
  never learns on any part then tells nothing.
- The networks are narrower (`width` 128 is the paper's) and are trained for minutes, so that a processor will
  do. Canvases are padded by their border, so that maps have a quarter of the canvas's sides.
- The student begins with all places and comes to the hardest, a share of `hard`, half way through; the
  paper's thousandth alone and its penalty of 1 teach it too little in minutes. For the same reason the
  teacher has batch normalisation, and the autoencoder's map counts for less than half (`arrangement`).
- The penalty, too, is on drawn textures. From a canvas in altered light the autoencoder tells what the
  teacher says of the canvas itself, and the student copies its answer to that one, which saves half of each
  step.
- The lower quantile of each map is not taken off: that would move all distances by one constant, and without
  it they are never negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flawscope.core.config import Span, setting
from flawscope.core.registry import Kind, register
from flawscope.methods.contract import FitContext, FitData
from flawscope.methods.settings import MapConfig, Training

TEACHERS = ("backbone", "distilled")


@dataclass(frozen=True)
class EfficientadConfig(MapConfig):
    """Settings of efficientad."""

    width: int = setting(
        24,
        unit="channels",
        low=8,
        high=256,
        help="Of the first layer; the teacher gives three times as many. Time grows with its square.",
    )
    teacher: str = setting(
        "backbone",
        choices=TEACHERS,
        help="backbone sees more, and stands in the bundle; distilled is a small copy of it, which takes far "
        "longer to teach.",
    )
    distil_steps: int = setting(
        1500,
        low=1,
        high=1_000_000,
        help="How long a distilled teacher learns from the backbone, once; it is kept in the user's cache.",
    )
    code: int = setting(
        64,
        unit="numbers",
        low=4,
        high=1024,
        help="The autoencoder squeezes a canvas through so many; fewer rebuild only what all canvases share.",
    )
    hard: float = setting(
        0.02,
        unit="of the values",
        low=0.0001,
        high=1,
        help="The student learns where it errs most; more lets it copy easy places, and flaws with them.",
        search=Span(0.005, 0.1, ratio=True),
    )
    penalty: float = setting(
        0.1,
        low=0,
        high=100,
        help="Holds the student near 0 on drawn textures, so that it copies good parts alone.",
        search=Span(0.01, 1, ratio=True),
    )
    arrangement: float = setting(
        0.2,
        unit="of the distance",
        low=0,
        high=1,
        help="The autoencoder's say: more finds things out of place, less finds small flaws.",
        search=Span(0, 0.5),
    )
    by_place: float = setting(
        1.0, low=0, high=1, help="1 judges each place by what is usual there, 0 judges all places alike."
    )
    training: Training = setting(
        Training(steps=150, batch=2, learning_rate=4e-3, weight_decay=1e-5),
        help="How student and autoencoder are trained.",
    )


@register(
    "efficientad",
    kind=Kind.ONE_CLASS,
    extra="train",
    summary="A small student and an autoencoder beside a small teacher: odd surfaces, odd arrangements.",
    paper="Batzner et al., WACV 2024",
)
class Efficientad:
    """A student and an autoencoder beside a teacher: the backbone, or one distilled from it."""

    Config = EfficientadConfig

    def __init__(self, config: EfficientadConfig) -> None:
        self._config = config

    def fit(self, data: FitData, context: FitContext) -> Any:
        """Train on good parts (first a distilled teacher, where it is not in the cache); return the graph."""
        from flawscope.methods.deep import efficientad

        return efficientad.fit(self._config, data, context)
