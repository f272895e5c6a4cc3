"""The settings of a training run: what a configuration file and the options of `flawscope train` fill."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flawscope.core.config import setting
from flawscope.core.errors import ConfigError
from flawscope.core.types import CalibrationMode, Fit, Merge


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides a training run, apart from where it is written and how many threads it
    takes."""

    data: Path = setting(Path(), help="The folder, list or manifest of photographs.")
    method: str = setting("patchcore", help="What learns; flawscope methods lists them.")
    backbone: str = setting("bundled", help="What sees: bundled, a name in the weights folder, or a file.")
    name: str = setting("", help="The bundle's name; empty takes the data folder's.")
    product: str = setting("", help="Which product of a folder that holds several; all: one model for all.")
    layout: str = setting("", help="How the folder is laid out; empty recognises it.")
    group_by: str = setting(
        "", help="A pattern on the path whose groups name part and group (lot, camera, day)."
    )
    resplit: str = setting(
        "", help="Shares that teach, select and test, such as 70/20/10, whatever the folders say."
    )
    size: tuple[int, ...] = setting(
        (), unit="px, width and height", help="The canvas; empty keeps the data's aspect."
    )
    budget: int = setting(
        224,
        unit="px, side of a square of equal area",
        low=64,
        high=2048,
        help="Larger sees smaller flaws, slower.",
    )
    fit: Fit = setting(
        Fit.LETTERBOX, help="letterbox keeps the aspect, stretch fills, tiles keeps every pixel."
    )
    tile_overlap: float = setting(
        0.25, unit="of a tile", low=0, high=0.75, help="What neighbouring tiles share."
    )
    tile_merge: Merge = setting(Merge.MAX, help="Where tiles overlap: the odder one, or their mean.")
    levels: tuple[int, ...] = setting(
        (), unit="grey levels", help="Black and white of 16-bit data; empty measures."
    )
    roi: Path | None = setting(None, help="Judge only here: an image or a polygon file.")
    ignore: Path | None = setting(None, help="Never judge here: an image or a polygon file.")
    min_area: int = setting(
        0, unit="px of the photograph", low=0, help="Regions smaller than this are not named."
    )
    calibrate: str = setting(
        "auto",
        choices=("auto", "split", "folds"),
        help="split promises, folds estimate; auto: split from 100 parts.",
    )
    calibrate_share: float = setting(
        0.3, unit="of the good parts", low=0.05, high=0.9, help="Held out to calibrate by split."
    )
    folds: int = setting(5, low=2, high=20, help="More come nearer to the final model and take longer.")
    alpha: float = setting(0.05, unit="of good parts", low=1e-6, high=0.5, help="How many may be called NG.")
    review_alpha: float = setting(
        0.15, unit="of good parts", low=1e-6, high=0.9, help="How many may be not OK."
    )
    cost_escape: float = setting(
        0.0, low=0, help="What a missed defect costs; with cost_overkill it sets the limit."
    )
    cost_overkill: float = setting(0.0, low=0, help="What a good part called NG costs.")
    bad_share: float = setting(
        0.0,
        unit="of the parts on the line",
        low=0,
        high=0.5,
        help="Weighs the costs; 0 takes the share at hand.",
    )
    references: float = setting(
        1.5,
        unit="MB of the bundle",
        low=0,
        high=50,
        help="Good patches and small pictures that explanations compare with; 0 leaves them out.",
    )
    teaching: bool = setting(
        True, help="Keeps what flawscope teach needs inside the bundle; false makes it smaller."
    )
    seed: int = setting(0, low=0, help="Of the split and of whatever the method draws.")
    strict: bool = setting(False, help="Near-duplicates across roles are errors.")
    settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "The method's own settings."})

    def __post_init__(self) -> None:
        if self.alpha > self.review_alpha:
            raise ConfigError(
                f"review_alpha is smaller than alpha ({self.review_alpha:g} < {self.alpha:g})",
                expected="the share of good parts that are not OK to hold those called NG",
                remedy="Raise --review-alpha or lower --alpha",
            )
        for name in ("size", "levels"):
            if len(getattr(self, name)) not in (0, 2):
                raise ConfigError(f"{name} takes two numbers", found=str(list(getattr(self, name))))
        if self.size and not all(32 <= side <= 4096 for side in self.size):
            raise ConfigError(
                "size does not fit", expected="32 to 4096 px, width and height", found=str(list(self.size))
            )
        if self.levels and not 0 <= self.levels[0] < self.levels[1] <= 65535:
            raise ConfigError(
                "levels do not fit", expected="0 <= black < white <= 65535", found=str(list(self.levels))
            )
        if (self.cost_escape > 0) != (self.cost_overkill > 0):
            raise ConfigError("A limit by cost needs both cost_escape and cost_overkill")

    def mode(self, good_parts: int, *, slow: bool = False) -> CalibrationMode:
        """Return how to calibrate with this many good parts: methods that are `slow` to teach are not taught
        once a fold unless that is asked for."""
        if self.calibrate == "auto":
            return CalibrationMode.SPLIT if slow or good_parts >= 100 else CalibrationMode.FOLDS
        return CalibrationMode(self.calibrate)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a configuration file, TOML or YAML by its ending. Raises ConfigError for what cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors put a mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read", found=str(error)) from error
    try:
        if path.suffix.lower() == ".toml":
            values: Any = tomllib.loads(text)
        elif path.suffix.lower() in (".yaml", ".yml"):
            values = yaml.safe_load(text)
        else:
            raise ConfigError(f"{path} has no known ending", expected=".toml, .yaml or .yml")
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The configuration {path} is not well formed", found=str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(f"The configuration {path} holds no settings", expected="names and values")
    return values
