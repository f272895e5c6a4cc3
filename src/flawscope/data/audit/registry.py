"""The table of kinds: what can be found. A kind is one function over what was measured, with `@kind(...)`
above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from flawscope.core.progress import Progress
from flawscope.core.types import Array
from flawscope.data.audit.copies import Copy, near_copies
from flawscope.data.audit.facts import Facts
from flawscope.data.audit.findings import Finding
from flawscope.data.audit.framing import Framing, framing_of
from flawscope.data.audit.labels import Suspicion, suspicion_of
from flawscope.data.audit.strangers import Strangeness, strangeness_of
from flawscope.data.audit.usual import Peers, Residual, peers_of, residuals


@dataclass(frozen=True, eq=False)
class Measured:
    """The facts, and what follows from comparing photographs with one another."""

    facts: Facts
    peers: Peers
    light: Residual
    red: Residual
    blue: Residual
    sharpness: Residual
    scale: Residual  # of the log of the sides' geometric mean
    framing: Framing
    copies: tuple[Copy, ...]
    suspicion: Suspicion
    strangeness: Strangeness

    def id(self, row: int) -> str:
        """Return the id of a row's photograph."""
        return self.facts.samples[row].id


Look = Callable[[Measured], Iterable[Finding]]


@dataclass(frozen=True)
class Kind:
    """One kind of finding: its name in JSON, a title, what it means, and the function that looks for it."""

    name: str
    title: str
    meaning: str
    look: Look


class Kinds:
    """Kinds by name, in the order of registration."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def register(self, name: str, *, title: str, meaning: str) -> Callable[[Look], Look]:
        """Return a decorator that enters a function as a kind. Raises ValueError for a name in use."""

        def enter(look: Look) -> Look:
            if name in self._kinds:
                raise ValueError(f"A kind named {name!r} is registered already.")
            self._kinds[name] = Kind(name, title, meaning, look)
            return look

        return enter

    def __getitem__(self, name: str) -> Kind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def __len__(self) -> int:
        return len(self._kinds)


kinds = Kinds()
kind = kinds.register


def compare(facts: Facts, *, progress: Progress) -> Measured:
    """Compare the photographs with one another: all that the kinds need."""
    peers = peers_of(facts)

    def column(name: str) -> Array:
        return np.array([np.nan if look is None else getattr(look, name) for look in facts.looks])

    sides = [np.nan if look is None else float(np.log(look.size_hw).mean()) for look in facts.looks]
    return Measured(
        facts=facts,
        peers=peers,
        light=residuals(column("light_log"), peers),
        red=residuals(column("red_log"), peers),
        blue=residuals(column("blue_log"), peers),
        sharpness=residuals(column("sharpness_log"), peers.by_setting()),
        scale=residuals(sides, peers),
        framing=framing_of(facts, peers, progress=progress),
        copies=tuple(near_copies(facts, progress=progress)),
        suspicion=suspicion_of(facts, peers, progress=progress),
        strangeness=strangeness_of(facts),
    )
