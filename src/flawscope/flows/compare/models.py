"""Which models are compared: by name, by preset, with settings of their own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from flawscope.core.config import as_values, build, merged
from flawscope.core.errors import UsageError
from flawscope.core.registry import Entry, Kind, did_you_mean, methods

DINO = "vit_small_patch14_dinov2"  # dinomaly rebuilds a transformer's tokens
ONE_CLASS = (
    "patchcore", "padim", "dfm", "stfpm", "reverse_distillation", "fastflow", "efficientad", "draem",
    "supersimplenet", "dinomaly",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """One row of the comparison: a method with a backbone and settings, under a name."""

    name: str
    method: str
    backbone: str = ""  # empty: that of the comparison
    settings: dict[str, Any] = field(default_factory=dict)  # the method's own
    optional: bool = False  # left out, with a note, where the data cannot teach it

    @property
    def entry(self) -> Entry:
        """The method's registration. Raises UsageError for an unknown one."""
        importlib.import_module("flawscope.methods")  # registers them
        return methods[self.method]

    @property
    def needs_defects(self) -> bool:
        """Whether it learns from labelled defects."""
        return self.entry.kind is Kind.SUPERVISED


@dataclass(frozen=True)
class Preset:
    """A comparison by name: its models and what they are compared by."""

    models: tuple[Model, ...]
    seeds: int
    resplit: str = ""
    words: str = ""


def _plain(name: str, *, optional: bool = False) -> Model:
    return Model(name, name, backbone=DINO if name == "dinomaly" else "", optional=optional)


def _tuned(backbone: str, attention: str, *, trainable: str) -> Model:
    ending = " +CBAM" if attention == "cbam" else ""
    shown = "last layer" if trainable == "head" else "last stage"
    return Model(
        f"{backbone}{ending}, {shown}",
        "finetune",
        backbone=backbone,
        settings={"attention": attention, "trainable": trainable},
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "qc10": Preset(
            tuple(_plain(name) for name in ONE_CLASS),
            seeds=3,
            words="the ten models that learn from good parts alone",
        ),
        "chips": Preset(
            (
                Model("ifm", "ifm", backbone="mobilenetv2_100"),
                *(
                    _tuned(backbone, attention, trainable="last_stage")
                    for backbone in ("mobilenetv2_100", "resnet50")
                    for attention in ("none", "cbam")
                ),
                _tuned("resnet50", "none", trainable="head"),
                Model("cnn", "cnn"),
                Model("svm", "svm"),
            ),
            seeds=3,
            resplit="70/20/10",
            words="the supervised ablation: attention, backbones, the last layer alone, CNN and SVM",
        ),
        "quick": Preset(
            (
                *(_plain(name) for name in ("patchcore", "padim", "dfm")),
                *(_plain(name, optional=True) for name in ("linear", "svm", "joined")),
            ),
            seeds=1,
            words="what needs no torch; the supervised ones where there are defects to teach",
        ),
    }
)


def preset_of(name: str) -> Preset:
    """Return a preset. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(
            f"There is no preset {name!r}",
            expected="one of " + ", ".join(PRESETS),
            remedy=did_you_mean(name, list(PRESETS)),
        )
    return PRESETS[name]


def models_named(names: Sequence[str]) -> tuple[Model, ...]:
    """Return a model for each method's name. Raises UsageError for an unknown or a repeated one."""
    models = tuple(_plain(name) for name in names)
    for model in models:
        _ = model.entry
    refuse_repeated(models)
    return models


def models_from(tables: Sequence[Mapping[str, Any]]) -> tuple[Model, ...]:
    """Read models from the tables of a configuration: `method`, and optionally `name`, `backbone` and
    `settings`. Raises ConfigError for anything else."""
    models = []
    for table in tables:
        values = {"name": table.get("method", ""), **table}
        model = build(Model, values, where="models")
        if not model.backbone and model.method == "dinomaly":
            model = replace(model, backbone=DINO)
        _ = model.entry
        models.append(model)
    refuse_repeated(models)
    return tuple(models)


def refuse_repeated(models: Sequence[Model]) -> None:
    """Raise UsageError where two rows would have one name, or where there is none at all."""
    names = [model.name for model in models]
    if not names:
        raise UsageError("There is nothing to compare", expected="--methods or --preset")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The model {name!r} is named twice", expected="each row once")


def adjusted(models: Sequence[Model], assignments: Sequence[str], *, steps: int | None) -> tuple[Model, ...]:
    """Return the models with `NAME.setting=value` applied (NAME is a row's or a method's) and, with `steps`,
    every network trained for so many. Raises UsageError for an assignment that meets no model, ConfigError
    for a setting that a method does not have."""
    made = []
    met: set[str] = set()
    for model in models:
        own = []
        for assignment in assignments:
            name, _, rest = assignment.partition(".")
            if rest and name in (model.name, model.method):
                own.append(rest)
                met.add(assignment)
        settings = merged(model.settings, own)
        default = model.entry.method.Config()
        if steps is not None and hasattr(default, "training"):
            settings["training"] = {**settings.get("training", {}), "steps": steps}
        made.append(replace(model, settings=whole_settings(replace(model, settings=settings))))
    for assignment in assignments:
        if assignment not in met:
            raise UsageError(
                f"--set {assignment} meets no model",
                expected="METHOD.setting=value, METHOD one of " + ", ".join(model.name for model in models),
            )
    return tuple(made)


def whole_settings(model: Model) -> dict[str, Any]:
    """Return a model's settings with all defaults. Raises ConfigError for an unknown setting or one that does
    not fit."""
    return as_values(build(model.entry.method.Config, model.settings, where=model.method))
