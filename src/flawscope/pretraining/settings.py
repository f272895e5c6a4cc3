"""What decides a course of pretraining; torch is not needed to state it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flawscope.synth.episodes import Layout

ARCHITECTURES = ("resnet", "plain", "mobile")
MEAN = (0.485, 0.456, 0.406)  # of pixels from 0 to 1
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """Which trunk is built."""

    name: str = "resnet"  # one of ARCHITECTURES
    width: float = 1.0


@dataclass(frozen=True)
class Curriculum:
    """How hard defects are to see: `first` at the start, `last` from the share `until` of the steps on."""

    first: float = 0.4
    last: float = 1.0
    until: float = 0.4

    def at(self, share: float) -> float:
        """Return the difficulty (0..1) at a share of the steps."""
        return self.first + (self.last - self.first) * min(1.0, share / max(self.until, 1e-9))


@dataclass(frozen=True)
class Terms:
    """Weights of the terms and numbers of patches."""

    rank: float = 1.0
    photograph: float = 1.0
    material: float = 0.5
    margin: float = 0.05  # of distances, in their own unit
    odd: int = 160  # good patches of a product that are ranked, the oddest
    marred: int = 128  # patches on defects of a product that are ranked
    covered: float = 0.25  # share of a position from which it lies on the defect


@dataclass(frozen=True)
class Course:
    """Everything that decides what comes out, beside the machine."""

    steps: int
    seed: int = 0
    architecture: Architecture = field(default_factory=Architecture)
    layout: Layout = field(default_factory=Layout)
    wide: Layout | None = None  # every second batch is drawn by this one
    whitening: float = 0.0  # power with which a whitening layer is begun and learnt with the rest; 0: none
    curriculum: Curriculum = field(default_factory=Curriculum)
    terms: Terms = field(default_factory=Terms)
    rate: float = 6e-4
    decay: float = 0.02
    warm_up: int = 60  # steps
    fall: float = 0.35  # the last share of the steps, over which the rate falls to nothing
    average: float = 0.995  # of the moving average
    hold_early: bool = (
        False  # the stages before the two levels stay as they are, which spares a third of the time
    )
    hold_norms: bool = False  # batch norm keeps its statistics, for weights that were trained before

    def layout_at(self, step: int) -> Layout:
        """Return the layout of a step's batch."""
        return self.layout if self.wide is None or step % 2 == 0 else self.wide

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        rising = min(1.0, (step + 1) / max(self.warm_up, 1))
        falling = min(1.0, (self.steps - step) / max(self.fall * self.steps, 1))
        return self.rate * rising * falling


@dataclass(frozen=True)
class Workplace:
    """Where a course runs; nothing here changes what it aims at."""

    folder: Path
    device: str = "cpu"
    threads: int = 0  # 0: as many as torch likes
    workers: int = 1  # processes that draw
    mixed: bool | None = None  # half precision where it is faster; None: where the device is built for it
    keep_every_s: float = 300.0
    log_every: int = 20  # steps


@dataclass(frozen=True)
class Progress:
    """How far a course has come."""

    step: int
    hours: float
    images: int
    loss: float
    ranked: float
    separated: float
