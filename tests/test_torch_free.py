"""The base install alone: teaching, judging and testing where torch is not to be had, and a light line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from worlds import World

_BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        heavy = {"torch", "torchvision", "timm", "safetensors", "lightning_fabric", "onnxscript"}
        if name.split(".")[0] in heavy:
            raise ImportError(f"{name} was asked for, which the base install does not have")
        return None

sys.meta_path.insert(0, Refuse())
"""
_END_TO_END = (
    _BLOCK
    + """
import json
from pathlib import Path
import flawscope
from flawscope.flows.annotate import annotate
from flawscope.flows.marking import AnnotateSettings
from flawscope.imaging.refine import Refine
data, out = sys.argv[1:]
settings = {"budget": 96, "settings": {"bank": 100, "candidates": 2000}}
trained = flawscope.train(data + "/train/good", out=out, settings=settings, threads=1)
inspector = flawscope.Inspector.open(trained.bundle.path, threads=1)
report = flawscope.evaluate(inspector, data + "/test", out=out + "/evaluation")
marking = AnnotateSettings(refine=Refine.WALKER, everything=True)
labels = annotate(inspector, Path(data + "/test"), Path(out + "/labels"), marking)
found = [one.to_json() for one in inspector.inspect([entry.sample.path for entry in report.judged])]
from flawscope.flows.explain import ExplainSettings, Explainers
paths = [entry.sample.path for entry in report.judged]
explained = [one for _, one in Explainers(inspector, ExplainSettings(always=True))(paths)]
names = [each.explainer for one in explained for each in one.explanations]
told = {"found": found, "report": report.to_json(), "explained": names, "labels": labels.to_json()}
sys.stdout.write(json.dumps(told))
"""
)
_LINE = """
import json, sys
from flawscope import Inspector
found = Inspector.open(sys.argv[1], threads=1)(sys.argv[2])
loaded = sorted({name.split(".")[0] for name in sys.modules})
sys.stdout.write(json.dumps({"verdict": found.verdict, "regions": len(found.regions), "loaded": loaded}))
"""
_IMPORT = """
import json, sys
import flawscope
sys.stdout.write(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def _run(program: str, *arguments: str) -> object:
    command = [sys.executable, "-c", program, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_block_blocks() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _BLOCK + "import torch"], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode != 0 and "base install does not have" in ran.stderr


def test_teach_judge_and_test_without_torch(world: World, tmp_path: Path) -> None:
    values = _run(_END_TO_END, world.data.as_posix(), (tmp_path / "run").as_posix())
    assert isinstance(values, dict)
    report = values["report"]
    assert report["metrics"]["image"]["auroc"]["n"] == 16
    assert values["explained"] == ["anomaly"] * 16
    assert [one["score"] for one in values["found"]] == [one["score"] for one in report["samples"]]
    assert values["labels"]["photographs"] == 16 and values["labels"]["places"] > 0
    assert (tmp_path / "run" / "model.flaw").is_file()
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()


def test_the_line_loads_nothing_that_it_does_not_need(world: World) -> None:
    values = _run(_LINE, world.model.as_posix(), world.pictures("test/crack/*.png")[0].as_posix())
    assert isinstance(values, dict) and values["verdict"] is not None
    heavy = {
        "scipy",
        "sklearn",
        "onnx",
        "torch",
        "timm",
        "jinja2",
        "yaml",
        "typer",
        "rich",
        "matplotlib",
        "pandas",
    }
    assert heavy.isdisjoint(values["loaded"])
    assert {"onnxruntime", "cv2", "numpy"} <= set(values["loaded"])


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = _run(_IMPORT)
    assert isinstance(loaded, list) and "flawscope" in loaded
    assert {"numpy", "cv2", "onnxruntime", "scipy", "sklearn", "onnx"}.isdisjoint(loaded)


_STATION = (
    _BLOCK
    + """
import json, threading, urllib.request
from flawscope.app.server import serve
from flawscope.app.settings import StationSettings
from pathlib import Path
model, picture, store = sys.argv[1:]

def ask(station, address):
    def work():
        request = urllib.request.Request(
            address + "/api/inspect", Path(picture).read_bytes(), {"content-type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=100) as answer:
            verdict = json.load(answer)["data"]["verdict"]
        with urllib.request.urlopen(address + "/inspect", timeout=100) as answer:
            page = answer.read().decode()
        loaded = sorted({name.split(".")[0] for name in sys.modules})
        sys.stdout.write(json.dumps({"verdict": verdict, "page": len(page), "loaded": loaded}))
        import os, signal
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=work).start()

serve(StationSettings(store=store, models=(Path(model),), port=0, workers=1), ready=ask)
"""
)


def test_a_station_serves_without_torch(world: World, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="needs flawscope[app]")
    picture = world.pictures("test/scratch/*.png")[0]
    values = _run(_STATION, world.model.as_posix(), picture.as_posix(), (tmp_path / "s").as_posix())
    assert isinstance(values, dict)
    assert values["verdict"] in ("OK", "REVIEW", "NG") and values["page"] > 1000
    assert {"torch", "ray", "sklearn", "matplotlib", "pandas"}.isdisjoint(values["loaded"])
