"""Make the golden files anew and show what has changed: a small bundle, six pictures, the answers expected.

    python tests/golden/make.py            regenerate, print the difference, write
    python tests/golden/make.py --check    print the difference, write nothing, fail where there is one

The backbone has a few channels and random weights, which is enough to fix the format and the arithmetic. The
committed bundle must stay readable by every later version: when the format changes, keep the old file under
another name and add it to the test, and only then run this.
"""

# ruff: noqa: T201  (a script speaks on the terminal)

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from flawscope import Inspector, __version__
from flawscope.core.types import Array
from flawscope.flows.card import card
from flawscope.flows.settings import TrainSettings
from flawscope.flows.train import train
from flawscope.runtime.backbone import BackboneCard, Level, with_card
from flawscope.runtime.bundle import seal

HERE = Path(__file__).resolve().parent
BUNDLE, EXPECTED = "tiny.flaw", "expected.json"
SIZE_HW = (48, 64)
TAUGHT = 24
SCORE_TOLERANCE = 2e-3  # relative: processors and versions of onnxruntime round differently
SETTINGS: dict[str, Any] = {
    "size": [64, 64],  # letterboxed, so that padding takes part
    "name": "golden",
    "settings": {"bank": 60, "candidates": 2000, "components": 12, "smoothing": 4.0},
}


def tiny_backbone(path: Path, *, channels: tuple[int, int] = (8, 12)) -> Path:
    """Write a backbone of two levels (strides 8 and 16) with fixed random weights, and return its path."""
    rng = np.random.default_rng(20)
    fine, coarse = channels

    def weights(name: str, *shape: int) -> Any:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        return numpy_helper.from_array(values, name)

    strided = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a1"], **strided),
        helper.make_node("Relu", ["a1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["a2"], **strided),
        helper.make_node("Relu", ["a2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["fine"], **strided),
        helper.make_node("Relu", ["fine"], ["r3"]),
        helper.make_node("Conv", ["r3", "w4"], ["coarse"], **strided),
    ]
    constants = [
        weights("w1", 6, 3, 3, 3),
        weights("w2", 8, 6, 3, 3),
        weights("w3", fine, 8, 3, 3),
        weights("w4", coarse, fine, 3, 3),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, None, None])
        for name, count in (("fine", fine), ("coarse", coarse))
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, None, None])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    papers = BackboneCard(
        name="tiny",
        levels=(Level("fine", fine, 8), Level("coarse", coarse, 16)),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        source="random weights, for tests alone",
        licence="Apache-2.0",
    )
    path.write_bytes(with_card(model, papers).SerializeToString(deterministic=True))
    return path


def part(number: int, flaw: str = "") -> Array:
    """Draw a part: a ribbed plate with two holes, in light that varies a little; uint8 (48, 64, 3) RGB."""
    rng = np.random.default_rng([7, number])
    height, width = SIZE_HW
    y, x = np.mgrid[:height, :width]
    grey = 120 + 18 * np.sin(x * 0.7 + rng.uniform(-0.2, 0.2)) + 10 * np.cos(y * 0.35)
    for centre in (16, 48):
        grey = np.where((x - centre) ** 2 + (y - 24) ** 2 < 36, 45.0, grey)
    if flaw == "scratch":
        grey = np.where(np.abs(y - 8 - 0.3 * x) < 1.2, 235.0, grey)
    if flaw == "blob":
        grey = np.where((x - 33) ** 2 + (y - 36) ** 2 < 30, 250.0, grey)
    grey = grey * rng.uniform(0.96, 1.04) + rng.normal(0, 3, SIZE_HW)
    pixels = grey[..., None] * np.array([1.0, 0.97, 0.92])
    if flaw == "dark":
        pixels = pixels * 0.02
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


PICTURES = {
    "good_1.png": (101, ""),
    "good_2.png": (102, ""),
    "good_3.png": (103, ""),
    "scratch.png": (104, "scratch"),
    "blob.png": (105, "blob"),
    "dark.png": (106, "dark"),
}


def write_png(path: Path, pixels: Array) -> Path:
    """Write RGB pixels as a PNG file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    path.write_bytes(coded.tobytes())
    return path


def write_parts(folder: Path, count: int, *, start: int = 0) -> Path:
    """Write good parts as PNG files and return the folder."""
    for number in range(start, start + count):
        write_png(folder / f"part_{number:03d}.png", part(number))
    return folder


def make(folder: Path) -> None:
    """Write bundle, pictures and answers into a folder; the same everywhere but for rounding."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        settings = TrainSettings(
            data=write_parts(work / "good", TAUGHT),
            backbone=str(tiny_backbone(work / "tiny.onnx")),
            name=SETTINGS["name"],
            size=tuple(SETTINGS["size"]),
            settings=SETTINGS["settings"],
        )
        contents = train(settings, work / "run", threads=1).bundle.contents
    # nothing of this machine and of this minute
    contents = replace(
        contents,
        created="2026-01-01T00:00:00+00:00",
        environment={"versions": {"flawscope": __version__}, "seed": 0},
    )
    seal(folder / BUNDLE, replace(contents, card=card(contents)))
    inspector = Inspector.open(folder / BUNDLE, threads=1)
    answers = {}
    for name, (number, flaw) in PICTURES.items():
        found = inspector(write_png(folder / name, part(number, flaw)))
        answers[name] = {
            "verdict": found.verdict and found.verdict.value,
            "error": found.error and found.error.code,
            "score": found.score and round(found.score, 7),
            "peak": None if found.map is None else round(float(found.map.max()), 7),
            "p_value": found.p_value,
            "regions": [list(region.box_xyxy) for region in found.regions],
        }
    limits = inspector.thresholds.to_json()
    expected = {"score_tolerance": SCORE_TOLERANCE, "thresholds": limits, "answers": answers}
    text = json.dumps(expected, indent=1) + "\n"
    (folder / EXPECTED).write_bytes(text.encode())


def differences(old: Path, new: Path) -> list[str]:
    """Return a line for every answer that differs, and for every file whose bytes do."""
    if not (old / EXPECTED).is_file():
        return ["there were no golden files yet"]
    before, after = (json.loads((folder / EXPECTED).read_text("utf-8")) for folder in (old, new))
    lines = []
    for group in ("thresholds", "answers"):
        for name in sorted({*before[group], *after[group]}):
            one, other = before[group].get(name), after[group].get(name)
            if one != other:
                lines.append(f"{name}: {json.dumps(one)} -> {json.dumps(other)}")
    for name in (BUNDLE, *PICTURES):
        if not (old / name).is_file() or (old / name).read_bytes() != (new / name).read_bytes():
            lines.append(f"{name}: other bytes")
    return lines


def main() -> int:
    """Make the files beside the committed ones, show the difference, take their place."""
    parser = argparse.ArgumentParser(description="Make the golden files anew.")
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        new = Path(place)
        make(new)
        lines = differences(HERE, new)
        print("\n".join(lines) if lines else "The golden files are as committed.")
        if arguments.check:
            return int(bool(lines))
        for path in sorted(new.iterdir()):
            (HERE / path.name).write_bytes(path.read_bytes())
    print(f"Written to {HERE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
