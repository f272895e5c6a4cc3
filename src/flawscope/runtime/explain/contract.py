"""What an explainer is given and gives back, and the registry of them.

An explainer is a function from canvases of one photograph, with what the graph gave for them, to one map a
canvas: float32 (N, h, w), any grid, higher where more speaks for the class that is explained. It never sees
padding's effect: one shared place (`runtime/explain/maps.py`) brings the maps up to the canvas, cuts the
padding off, merges tiles and divides by the explainer's limit.

To add one: write the function in a module of this package, put `@explainer("name", outputs=..., ...)` above
it, and import the module in `runtime/explain/__init__.py`. What it needs of the bundle stands in the
decorator, so that a bundle that lacks it is refused with a list of what works. It may be called with one
canvas or several, and must give each canvas the same map either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flawscope.core.errors import UsageError
from flawscope.core.registry import did_you_mean
from flawscope.core.types import Array, Image, Preprocess
from flawscope.imaging.preprocess import Canvases
from flawscope.imaging.resample import to_grid
from flawscope.runtime.bundle import Bundle, Golden
from flawscope.runtime.references import References
from flawscope.runtime.session import GraphSession

FEATURES = "features"  # asked for, it stands for all levels: features, features_1, ... each on its own grid


@dataclass(frozen=True, eq=False)
class Head:
    """The linear head over all levels' channels: evidence = weight @ features + bias, the temperature folded
    in."""

    weight: Array  # float32 (K, C)
    bias: Array  # float32 (K,)


@dataclass(frozen=True, eq=False)
class Known:
    """What an explainer may use of an opened bundle."""

    session: GraphSession
    preprocess: Preprocess
    classes: tuple[str, ...] = ()  # good first; empty for a method that learns from good parts alone
    head: Head | None = None
    references: References | None = None

    @classmethod
    def of(cls, bundle: Bundle, session: GraphSession) -> Known:
        """Gather it from a bundle and its open graph; the head's weights cost one run of the graph."""
        contents = bundle.contents
        return cls(
            session,
            contents.preprocess,
            session.classes,
            read_head(session, contents.golden),
            contents.references,
        )

    def lacks(self, one: Explainer) -> tuple[str, ...]:
        """Return in words what an explainer needs and the bundle does not have; empty where it works."""
        missing = [
            f"the graph's output {name}" for name in one.outputs if name not in self.session.output_names
        ]
        if one.head and self.head is None:
            missing.append("a linear head")
        if one.references and self.references is None:
            missing.append("references of good parts")
        return tuple(missing)

    def working(self) -> tuple[str, ...]:
        """Return the names of the explainers that work with this bundle."""
        return tuple(one.name for one in explainers if not self.lacks(one))

    def output_names(self, wanted: Sequence[Explainer]) -> tuple[str, ...]:
        """Return the graph's outputs that these explainers need, `features` with all its levels."""
        return self.output_names_of(*(name for one in wanted for name in one.outputs))

    def output_names_of(self, *outputs: str) -> tuple[str, ...]:
        """Return these outputs' names, each once, `features` with all its levels."""
        names = dict.fromkeys(outputs)
        if FEATURES in names:
            names |= dict.fromkeys(level_names(self.session.output_names))
        return tuple(names)


@dataclass(frozen=True, eq=False)
class Shown:
    """Some canvases of one photograph, what the graph gave for them, and which class is to be explained."""

    image: Image  # the whole photograph
    canvases: Canvases
    outputs: Mapping[str, Array]  # what the explainer asked for, by name, each with N canvases first
    target: int  # the class's place among the logits; 0 where there are no classes
    known: Known

    @property
    def features(self) -> Array:
        """Features of all levels on the finest level's grid, float32 (N, C, h, w): what the head's weights
        belong to."""
        return all_levels(self.outputs)

    @property
    def head(self) -> Head:
        """The linear head. Only for explainers registered with `head=True`."""
        if self.known.head is None:
            raise ValueError("an explainer that uses the head must be registered with head=True")
        return self.known.head

    @property
    def references(self) -> References:
        """References of good parts. Only for explainers registered with `references=True`."""
        if self.known.references is None:
            raise ValueError("an explainer that uses references must be registered with references=True")
        return self.known.references


Explain = Callable[[Shown], Array]
Afterwards = Callable[[Image, Array], Array]


@dataclass(frozen=True, eq=False)
class Explainer:
    """An explainer with what it needs of a bundle."""

    name: str
    explain: Explain
    summary: str  # one line: what its map says
    paper: str = ""
    outputs: tuple[str, ...] = ()  # of the graph, by name
    head: bool = False
    references: bool = False
    audit: bool = False  # runs the graph many times a photograph: no limit is measured while teaching
    whole: Afterwards | None = None  # takes the photograph and the merged map over it, returns the final map


class Explainers:
    """Explainers by name, filled by decorators when `flawscope.runtime.explain` is imported."""

    def __init__(self) -> None:
        self._entries: dict[str, Explainer] = {}

    def enter(self, one: Explainer) -> None:
        """Enter an explainer. Raises ValueError for a name in use."""
        if one.name in self._entries:
            raise ValueError(f"An explainer named {one.name!r} is registered already.")
        self._entries[one.name] = one

    def __getitem__(self, name: str) -> Explainer:
        if name not in self._entries:
            raise UsageError(
                f"There is no explainer named {name!r}",
                expected="one of " + ", ".join(self._entries),
                remedy=did_you_mean(name, list(self._entries)) or "See: flawscope explain --help",
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[Explainer]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


explainers = Explainers()


def explainer(
    name: str,
    *,
    summary: str,
    paper: str = "",
    outputs: tuple[str, ...] = (),
    head: bool = False,
    references: bool = False,
    audit: bool = False,
    whole: Afterwards | None = None,
) -> Callable[[Explain], Explain]:
    """Return a decorator that enters a function under `name`; the arguments are the fields of `Explainer`."""

    def enter(explain: Explain) -> Explain:
        explainers.enter(Explainer(name, explain, summary, paper, outputs, head, references, audit, whole))
        return explain

    return enter


def level_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return which of a graph's outputs are levels of features, finest first."""
    return tuple(
        sorted(
            (name for name in names if name == FEATURES or _numbered(name)),
            key=lambda name: int(name[len(FEATURES) + 1 :] or 0),
        )
    )


def all_levels(outputs: Mapping[str, Array]) -> Array:
    """Return the features among a graph's outputs, all levels on the finest one's grid: float32 (N, C, h,
    w)."""
    levels = [outputs[name] for name in level_names(tuple(outputs))]
    grid_hw = (levels[0].shape[2], levels[0].shape[3])
    return levels[0] if len(levels) == 1 else np.concatenate([to_grid(one, grid_hw) for one in levels], 1)


def _numbered(name: str) -> bool:
    return name.startswith(f"{FEATURES}_") and name[len(FEATURES) + 1 :].isdigit()


def read_head(session: GraphSession, golden: Golden) -> Head | None:
    """Return the head's weights as the graph uses them, or None where it has no linear head."""
    names = ("head_weight", "head_bias")
    if not set(names) <= set(session.output_names):
        return None
    outputs = session.run(golden.pixels, golden.content_xyxy, names=names)
    return Head(outputs["head_weight"], outputs["head_bias"])
