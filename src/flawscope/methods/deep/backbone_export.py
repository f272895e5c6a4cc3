"""A timm network's trunk as an ONNX backbone: its levels, any batch and size, checked against torch's own.

A convolutional network gives levels of the strides asked for, a plain vision transformer the patch tokens of
blocks. The graph ends at the deepest level; batch norm is folded into the convolutions by the exporter.
"""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from timm.layers import Conv2dSame

from flawscope.core import digest, extras
from flawscope.core.errors import ConfigError
from flawscope.core.registry import did_you_mean
from flawscope.core.types import Array
from flawscope.methods.backbones import STRIDES, Source, Tokens, WeightsNotes
from flawscope.methods.deep.export import stripped
from flawscope.methods.deep.patch_tokens import TokenTrunk, build, free_rotation, gives_tokens
from flawscope.methods.deep.weights_file import load, read_state, with_tf_rule
from flawscope.methods.graph import OPSET
from flawscope.runtime.backbone import Backbone, BackboneCard, Level, read_bytes, with_card
from flawscope.runtime.halves import halve

TOLERANCE = 1e-4  # largest difference between torch and ONNX, as a share of the largest value
PROBES = ((1, 4, 6), (3, 4, 6), (1, 8, 4), (3, 8, 4), (1, 20, 10))  # batch, height and width in strides
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm names them


class UnpublishedError(Exception):
    """timm's published weights cannot be had: there are none, or the network is out of reach."""


def architectures() -> list[str]:
    """Return the names of timm's architectures, without tags."""
    return list(timm.list_models())


@dataclass(frozen=True)
class _Plan:
    """Which maps of an architecture become levels."""

    arch: str
    arch_kwargs: dict
    strides: tuple[int, ...]
    indices: tuple[int, ...]  # among timm's feature maps; empty for a transformer
    tokens: Tokens | None  # None: a convolutional network

    def build(self, *, pretrained: bool = False, file: str | None = None) -> Any:
        """Build the trunk, with timm's published weights where `pretrained`. Raises timm's errors."""
        if self.tokens is not None:
            return build(self.arch, self.tokens, self.arch_kwargs, pretrained=pretrained, file=file)
        return timm.create_model(
            self.arch,
            pretrained=pretrained,
            features_only=True,
            out_indices=self.indices,
            pretrained_cfg_overlay={"file": file} if file else {},
            **self.arch_kwargs,
        )


def export(
    arch: str,
    weights: Path | None,
    *,
    strides: Sequence[int] = STRIDES,
    tokens: Tokens = Tokens.LATE,
    notes: WeightsNotes | None = None,
    name: str = "",
) -> Backbone:
    """Return the backbone of a timm architecture, its weights stored in half precision.

    `weights` is a safetensors or pth file (read as weights only); None takes timm's published weights.
    `strides` are a convolutional network's levels, finest first; `tokens` says which blocks of a transformer
    are. `name` goes into the card; empty means `arch`. Raises ConfigError for an architecture without these
    levels, weights that are not its own, and a graph that does not do what torch does; UnpublishedError where
    `weights` is None and timm's cannot be had.
    """
    notes = notes or WeightsNotes()
    with _contained():
        trunk, notes = _weighted(arch, weights, notes, lambda kwargs: _plan(arch, strides, tokens, kwargs))
    settings = _settings(arch)
    card = BackboneCard(
        name=name or arch,
        levels=(),
        mean=notes.mean or settings.mean,
        std=notes.std or settings.std,
        source=notes.source or _source(arch, weights),
        licence=notes.licence or ("not stated" if weights else settings.license or "not stated"),
    )
    return graphed(trunk, card, strides=strides)


def graphed(trunk: Any, card: BackboneCard, *, strides: Sequence[int] = STRIDES) -> Backbone:
    """Return a network that gives levels of these strides as a backbone, its weights stored in half
    precision. The card's levels are filled in. Raises ConfigError where the graph does not do what torch
    does."""
    name = card.name
    with _contained():
        trunk.eval().requires_grad_(False)
        coarsest = trunk.stride if isinstance(trunk, TokenTrunk) else max(strides)
        expected = _tried(name, lambda: [_by_torch(trunk, probe) for probe in _probes(coarsest)])
        levels = _levels(name, trunk, strides, expected[0])
        if isinstance(trunk, TokenTrunk):
            free_rotation(trunk)
        else:
            _fix_same_padding(trunk)
        model = _plain(_to_onnx(name, trunk, levels), levels)
    _check_agreement(name, model, expected, _probes(coarsest))
    content = with_card(halve(model), replace(card, levels=levels)).SerializeToString(deterministic=True)
    return read_bytes(content, name=name)


def network(source: Source) -> Any:
    """Return a timm network with all its levels and its weights, to be trained. Raises as `export` does."""
    arch = source.architecture
    with _contained():
        return _weighted(arch, source.weights, source.notes, lambda kwargs: _whole(arch, kwargs))[0]


def _weighted(
    arch: str, weights: Path | None, notes: WeightsNotes, plan: Callable[[dict], _Plan]
) -> tuple[Any, WeightsNotes]:
    """Build the trunk that `plan` gives for an architecture's arguments, with weights from a file or timm's
    published ones; return it with what is known of them."""
    if weights is None:
        return _published(plan(notes.arch_kwargs)), notes
    state = read_state(weights)
    notes = with_tf_rule(arch, state, notes)
    trunk = _built(plan(notes.arch_kwargs))
    load(trunk, state, where=f"{weights} as {arch}")
    return trunk, notes


def _whole(arch: str, arch_kwargs: dict) -> _Plan:
    """Return all levels of a convolutional network, or the last block's tokens of a transformer."""
    trunk = _tried(arch, lambda: timm.create_model(arch, pretrained=False, features_only=True, **arch_kwargs))
    if gives_tokens(trunk):
        return _Plan(arch, arch_kwargs, (), (), Tokens.LATE)
    reductions = tuple(trunk.feature_info.reduction())
    return _Plan(arch, arch_kwargs, reductions, tuple(range(len(reductions))), None)


@contextmanager
def _contained() -> Iterator[None]:
    """Keep what building and exporting touch to themselves: random numbers and warnings."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _tried(arch: str, make: Callable[[], Any]) -> Any:
    """Build or run a network. Raises ConfigError where timm refuses."""
    try:
        return make()
    except (
        RuntimeError,
        TypeError,
        AttributeError,
        ValueError,
        AssertionError,
        NotImplementedError,
    ) as error:
        raise ConfigError(
            f"timm gives no trunk with levels for {arch} on canvases of any size",
            found=str(error).split("\n", 1)[0],
            remedy=did_you_mean(arch, [] if timm.is_model(arch.partition(".")[0]) else architectures()),
        ) from error


def _built(plan: _Plan) -> Any:
    return _tried(plan.arch, plan.build)


def _plan(arch: str, strides: Sequence[int], tokens: Tokens, arch_kwargs: dict) -> _Plan:
    """Return which maps become levels: those of these strides, the deepest of each, or a transformer's
    tokens. Raises ConfigError where the architecture has neither."""
    trunk = _tried(arch, lambda: timm.create_model(arch, pretrained=False, features_only=True, **arch_kwargs))
    if gives_tokens(trunk):
        return _Plan(arch, arch_kwargs, (), (), tokens)
    if tokens is not Tokens.LATE:
        raise ConfigError(
            f"{arch} has no blocks of patch tokens",
            expected="a plain vision transformer: vit_..., deit..., DINOv2 or DINOv3",
        )
    reductions = list(trunk.feature_info.reduction())
    missing = [stride for stride in strides if stride not in reductions]
    if missing:
        raise ConfigError(
            f"{arch} gives no stride-{missing[0]} map",
            expected="levels of stride "
            + " and ".join(map(str, strides))
            + ", which feature banks need, or a plain vision transformer",
            found="strides " + ", ".join(map(str, reductions)),
        )
    indices = tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides)
    return _Plan(arch, arch_kwargs, tuple(strides), indices, None)


def _published(plan: _Plan) -> Any:
    """Build the trunk with timm's published weights, from the hub's cache on this machine or from the
    network."""
    arch, settings = plan.arch, _settings(plan.arch)
    if not settings.hf_hub_id and not settings.url and not settings.file:
        raise UnpublishedError(f"timm publishes no weights of {arch}")
    kept = _in_hub_cache(settings.hf_hub_id) if settings.hf_hub_id else None
    if settings.hf_hub_id and kept is None:
        _require_network()
    try:
        return plan.build(pretrained=True, file=kept)
    except Exception as error:  # the hub's errors, its HTTP library's and timm's share no public base class
        reason = str(error).split("\n", 1)[0]
        raise UnpublishedError(f"timm's weights of {arch} could not be fetched ({reason})") from error


def _in_hub_cache(repository: str) -> str | None:
    """Return the path of weights that the hub's client fetched before, None where it did not."""
    hub = extras.require("huggingface_hub", extra="train", purpose="Reading timm's published weights")
    places = (hub.try_to_load_from_cache(repository, name) for name in HUB_FILES)
    return next((place for place in places if isinstance(place, str)), None)


def _require_network() -> None:
    """Raise UnpublishedError at once where the hub's name is unknown: its client would retry for a minute."""
    constants = extras.require(
        "huggingface_hub.constants", extra="train", purpose="Reading timm's published weights"
    )
    if constants.HF_HUB_OFFLINE:
        raise UnpublishedError("HF_HUB_OFFLINE is set, and the weights are not in the hub's cache")
    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname
    if host is None or urllib.request.getproxies():
        return  # behind a proxy names need not be known here
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise UnpublishedError(f"{host} cannot be reached from here ({error})") from error


def _probes(stride: int) -> Iterator[Array]:
    """Yield random normalised images float32 (N, 3, H, W), the same at every call."""
    generator = np.random.default_rng(0)
    for batch, rows, columns in PROBES:
        yield generator.standard_normal((batch, 3, rows * stride, columns * stride)).astype(np.float32)


def _by_torch(trunk: Any, image: Array) -> list[Array]:
    with torch.inference_mode():
        return [level.numpy() for level in trunk(torch.from_numpy(image))]


def _levels(arch: str, trunk: Any, strides: Sequence[int], outputs: list[Array]) -> tuple[Level, ...]:
    """Return the levels, after looking at what the trunk gives for the first probe."""
    if isinstance(trunk, TokenTrunk):
        levels = tuple(Level(f"block{index}", trunk.channels, trunk.stride) for index in trunk.blocks)
    else:
        # level2 has stride 8 and level3 stride 16, as the stages of a ResNet are counted
        levels = tuple(
            Level(f"level{stride.bit_length() - 2}", values.shape[1], stride)
            for stride, values in zip(strides, outputs, strict=True)
        )
    coarsest = max(level.stride for level in levels)
    batch, height, width = PROBES[0][0], PROBES[0][1] * coarsest, PROBES[0][2] * coarsest
    for level, values in zip(levels, outputs, strict=True):
        wanted = (batch, level.channels, height // level.stride, width // level.stride)
        if values.shape != wanted:
            raise ConfigError(
                f"{arch} gives its stride-{level.stride} map in a form of its own",
                expected=f"(N, C, H, W) = {wanted}",
                found=str(values.shape),
            )
    return levels


class _PaddedConv(torch.nn.Module):
    """TensorFlow's 'same' convolution for sides that its stride divides: then the padding is fixed."""

    def __init__(self, conv: Any) -> None:
        super().__init__()
        spans = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        totals = [max(span - stride, 0) for span, stride in zip(spans, conv.stride, strict=True)]
        vertical, horizontal = ((total // 2, total - total // 2) for total in totals)
        plain = torch.nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            0,
            conv.dilation,
            conv.groups,
            conv.bias is not None,
        )
        plain.weight, plain.bias = conv.weight, conv.bias
        self.pad = torch.nn.ZeroPad2d((*horizontal, *vertical))
        self.conv = plain

    def forward(self, values: Any) -> Any:
        """Pad and convolve."""
        return self.conv(self.pad(values))


def _fix_same_padding(module: Any) -> None:
    """Replace convolutions that look at their input's size: canvas sides are multiples of the coarsest
    stride."""
    for name, child in module.named_children():
        if type(child) is Conv2dSame:
            setattr(module, name, _PaddedConv(child))
        else:
            _fix_same_padding(child)


def _to_onnx(arch: str, trunk: Any, levels: Sequence[Level]) -> Any:
    dynamic = torch.export.Dim.DYNAMIC
    coarsest = max(level.stride for level in levels)
    try:
        program = torch.onnx.export(
            trunk,
            (torch.zeros(2, 3, 14 * coarsest, 10 * coarsest),),
            input_names=["image"],
            output_names=[level.name for level in levels],
            dynamo=True,
            dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
            opset_version=OPSET,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConfigError(
            f"{arch} cannot be exported for any batch and size",
            found=str(error.__cause__ or error).strip().split("\n", 1)[0],
            remedy="Choose another architecture, for example resnet18 or mobilenetv2_100",
        ) from error
    return program.model_proto


def _plain(model: Any, levels: Sequence[Level]) -> Any:
    """Strip the exporter's notes and name the free dimensions. Raises ConfigError where one is fixed or the
    graph needs more than ONNX's own operations."""
    model = stripped(model, name="backbone")
    for value, stride in (
        (model.graph.input[0], 1),
        *zip(model.graph.output, (x.stride for x in levels), strict=True),
    ):
        batch, _, height, width = value.type.tensor_type.shape.dim
        for side, label in ((batch, "N"), (height, "H"), (width, "W")):
            if side.HasField("dim_value"):
                raise ConfigError(
                    f"The exported graph has a fixed size in {value.name}", found=str(side.dim_value)
                )
            side.dim_param = label if stride == 1 or label == "N" else f"{label}/{stride}"
    onnx.checker.check_model(model)
    return model


def _check_agreement(arch: str, model: Any, expected: Sequence[list[Array]], probes: Iterable[Array]) -> None:
    """Raise ConfigError unless ONNX gives what torch gave, at two batches and three sizes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for image, wanted in zip(probes, expected, strict=True):
        for got, want in zip(session.run(None, {"image": image}), wanted, strict=True):
            if got.shape != want.shape:
                raise ConfigError(f"{arch}: ONNX gives {got.shape} where torch gives {want.shape}")
            gap = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))
            if not gap < TOLERANCE:
                raise ConfigError(
                    f"{arch}: ONNX and torch disagree", expected=f"below {TOLERANCE:g}", found=f"{gap:.2g}"
                )


def _settings(arch: str) -> Any:
    """Return what timm states of an architecture's published weights, its defaults where nothing is."""
    return timm.get_pretrained_cfg(arch) or timm.models.PretrainedCfg()


def _source(arch: str, weights: Path | None) -> str:
    if weights is not None:
        return f"{weights.name}, sha256 {digest.of_file(weights)}"
    settings = _settings(arch)
    return f"timm {timm.__version__}: {settings.hf_hub_id or settings.url or arch}"
