"""anomalib's PatchCore through its public interface, asked line by line. Runs in anomalib's own environment.

    python worker_anomalib.py            answers JSON lines on stdin, as asking.py writes them
    python worker_anomalib.py STATE IMG  one image from a cold start

Its pre-processor, engine, data module and model are used as its documentation shows. Judging one image goes
the shortest public way, the module called on what `read_image` gives, with no post-processing and no engine
around it: what its users get from `Engine.predict` takes longer.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.engine import Engine
from anomalib.models import Patchcore
from anomalib.models.components import KCenterGreedy
from lightning.pytorch import seed_everything
from safetensors.torch import load_file

torch.set_num_threads(1)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def model_of(*, ratio: float, size: int) -> Patchcore:
    """Return PatchCore on ResNet-18's second and third stage, without weights."""
    return Patchcore(
        backbone="resnet18",
        layers=("layer2", "layer3"),
        pre_trained=False,
        coreset_sampling_ratio=ratio,
        pre_processor=Patchcore.configure_pre_processor(image_size=(size, size)),
        post_processor=False,
        evaluator=False,
        visualizer=False,
    )


def fit(order: dict[str, Any]) -> dict[str, Any]:
    """Teach these images with these weights; keep the state; return the seconds of the engine's fit, and of
    the search for the bank within it. A bank smaller than `bank` is repeated to that size, so that judging
    takes as long as with the whole one."""
    seed_everything(order["seed"], workers=True)
    model = model_of(ratio=order["ratio"], size=order["size"])
    search: dict[str, float] = {}
    choose = model.fit

    def timed() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        choose()
        search["search_seconds"] = time.perf_counter() - start
        search["search_cpu_seconds"] = time.process_time() - cpu

    model.fit = timed
    trunk = model.model.feature_extractor.feature_extractor
    missing = trunk.load_state_dict(load_file(order["weights"]), strict=False).missing_keys
    if [name for name in missing if "num_batches_tracked" not in name]:
        raise ValueError(f"weights lack {missing}")
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        good.mkdir()
        for number, path in enumerate(order["images"]):
            (good / f"{number:04d}{Path(path).suffix}").symlink_to(Path(path).resolve())
        start, cpu = time.perf_counter(), time.process_time()
        data = Folder(
            name="tiles",
            root=folder,
            normal_dir="good",
            test_split_mode="none",
            val_split_mode="none",
            num_workers=0,
            seed=order["seed"],
        )
        engine = Engine(
            accelerator="cpu",
            devices=1,
            default_root_dir=Path(folder) / "results",
            enable_progress_bar=False,
            limit_val_batches=0,  # nothing but teaching is timed
        )
        engine.fit(model=model, datamodule=data)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    state = model.state_dict()
    chosen = len(state["model.memory_bank"])
    repeats = -(-order["bank"] // chosen)
    state["model.memory_bank"] = state["model.memory_bank"].repeat(repeats, 1)[: order["bank"]]
    torch.save(state, order["out"])
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "chosen": chosen, **search}


def search(order: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds that one more centre takes among so many patches, whatever they show: the difference
    between a long and a short search, what both begin with cancelling out."""
    patches = torch.randn(order["patches"], order["dimensions"])
    spent = []
    for centres in order["centres"]:
        start, cpu = time.perf_counter(), time.process_time()
        KCenterGreedy(patches, centres / order["patches"] + 1e-9).select_coreset_idxs()
        spent.append((time.perf_counter() - start, time.process_time() - cpu))
    more = order["centres"][1] - order["centres"][0]
    wall, cpu = ((long - short) / more for short, long in zip(*spent, strict=True))
    return {"seconds": wall, "cpu_seconds": cpu}


class Judge:
    """A taught model, ready to look at images."""

    def __init__(self, state: str, size: int) -> None:
        self.model = model_of(ratio=0.1, size=size)
        self.model.load_state_dict(torch.load(state, weights_only=True))
        self.model.eval()

    @torch.inference_mode()
    def whole(self, path: str) -> tuple[float, np.ndarray]:
        """Return score and map of a file."""
        found = self.model(read_image(path, as_tensor=True)[None])
        return float(found.pred_score), found.anomaly_map[0, 0].numpy()

    @torch.inference_mode()
    def timed(self, path: str, clock: Callable[[], float]) -> tuple[float, float]:
        """Return the milliseconds of a file to score and map, and of the model alone."""
        start = clock()
        self.whole(path)
        middle = clock()
        ready = self.model.pre_processor(read_image(path, as_tensor=True)[None])
        before = clock()
        self.model.model(ready)
        return (middle - start) * 1000, (clock() - before) * 1000

    @torch.inference_mode()
    def batches(self, paths: list[str], size: int) -> float:
        """Return the seconds that files take in batches."""
        start = time.perf_counter()
        for at in range(0, len(paths), size):
            ready = [
                self.model.pre_processor(read_image(p, as_tensor=True)[None]) for p in paths[at : at + size]
            ]
            self.model.model(torch.cat(ready))
        return time.perf_counter() - start


def answer(order: dict[str, Any], judges: dict[str, Judge]) -> dict[str, Any]:
    """Do what is asked."""
    if order["do"] == "fit":
        return fit(order)
    if order["do"] == "search":
        return search(order)
    if order["do"] == "open":
        judges["judge"] = Judge(order["model"], order["size"])
        return {"bytes": Path(order["model"]).stat().st_size}
    judge = judges["judge"]
    if order["do"] == "time":
        found = {
            name: [judge.timed(path, clock) for path in order["paths"]] for name, clock in CLOCKS.items()
        }
        return {
            f"{what}_{name}": [pair[place] for pair in pairs]
            for name, pairs in found.items()
            for place, what in enumerate(("whole", "model"))
        }
    if order["do"] == "batch":
        cpu = time.process_time()
        seconds = judge.batches(order["paths"], order["batch"])
        return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu}
    if order["do"] == "predict":
        found = [judge.whole(path) for path in order["paths"]]
        maps = np.stack([heat for _, heat in found]).astype(np.float32)
        np.savez(order["out"], scores=np.array([score for score, _ in found]), maps=maps)
        return {}
    raise ValueError(order["do"])


def main() -> None:
    """Answer what stands on stdin, a line each; answers begin with @@, whatever else libraries print."""
    if len(sys.argv) > 1:
        print(Judge(sys.argv[1], 224).whole(sys.argv[2])[0])
        return
    judges: dict[str, Judge] = {}
    for line in sys.stdin:
        reply = answer(json.loads(line), judges)
        reply["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("@@" + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
