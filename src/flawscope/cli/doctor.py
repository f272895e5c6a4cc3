"""`flawscope doctor`: what is installed, what is missing, and whether it works here."""

from __future__ import annotations

import base64
import importlib.metadata
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson
from flawscope.core.errors import FlawscopeError
from flawscope.core.extras import MODULES, missing_modules

GPU_COMMANDS = ("pip uninstall -y onnxruntime", "pip install onnxruntime-gpu")


def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, onnxruntime's providers, extras, and a verdict from start to end.

    Exit code 5 where the bundled backbone or the self-test is not as it must be.
    """
    found = examined()
    if as_json:
        words.say_json(found)
    else:
        tell(found)
    if not found["ok"]:
        raise typer.Exit(5)


def examined() -> dict[str, Any]:
    """Return everything that doctor looks at."""
    import onnxruntime

    from flawscope.flows import environment

    installed = {name: _installed(name) for name in ("onnxruntime", "onnxruntime-gpu")}
    backbone = _backbone()
    test = _self_test()
    return {
        "ok": backbone["ok"] and test["ok"],
        "versions": environment.versions(),
        "machine": environment.machine(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "onnxruntime": {
            "version": onnxruntime.__version__,
            "packages": [name for name, version in installed.items() if version],
            "providers": onnxruntime.get_available_providers(),
            "for_gpus": list(GPU_COMMANDS),
        },
        "extras": {
            extra: {"missing": missing_modules(extra), "install": f'pip install "flawscope[{extra}]"'}
            for extra in MODULES
        },
        "openvino": _installed("openvino"),
        "backbone": backbone,
        "self_test": test,
    }


def tell(found: dict[str, Any]) -> None:
    """Print what was found, and what to do about it."""
    from flawscope.report import format as fmt

    versions = dict(found["versions"])
    words.say(f"flawscope {versions.pop('flawscope')}, Python {versions.pop('python')}")
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    words.sentence(listed, indent=2)
    machine = found["machine"]
    words.say(f"Machine: {machine['processor']}, {found['usable_cores']} cores, {machine['system']}")
    runtime = found["onnxruntime"]
    devices = [
        name for name in runtime["providers"] if name != "AzureExecutionProvider"
    ]  # a service, no device
    providers = [name.removesuffix("ExecutionProvider") for name in devices]
    words.say(f"onnxruntime {runtime['version']} runs on: {', '.join(providers)}")
    if len(runtime["packages"]) > 1:
        words.say(
            "  Both onnxruntime and onnxruntime-gpu are installed; they overwrite each other. Keep one."
        )
    if "CUDAExecutionProvider" not in runtime["providers"]:
        words.say("  For an NVIDIA GPU, swap the package (both hold the same module):")
        for command in runtime["for_gpus"]:
            words.say(f"    {command}")
    for extra, state in found["extras"].items():
        if state["missing"]:
            some = len(state["missing"]) < len(MODULES[extra])
            lacking = f" in full (no {', '.join(state['missing'])})" if some else ""
            words.say(f"[{extra}] not installed{lacking}: {state['install']}")
        else:
            words.say(f"[{extra}] installed")
    if found["openvino"]:
        words.say(f"OpenVINO {found['openvino']} installed")
    else:
        words.say("OpenVINO not installed (for export --to openvino): pip install openvino")
    backbone = found["backbone"]
    words.say(f"Bundled backbone: {backbone['words']}")
    test = found["self_test"]
    if test["ok"]:
        took = words.plain(fmt.milliseconds(test["verdict_ms"]))
        words.say(
            f"Self-test: taught 12 drawn chips in {test['teach_s']:.1f} s, one verdict {took}. All is well."
        )
    else:
        words.sentence(f"Self-test failed: {test['error']}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _backbone() -> dict[str, Any]:
    """Read the bundled backbone, and compare its digest with the one that pip recorded."""
    from flawscope.runtime.backbone import bundled

    try:
        card = bundled().card
    except (FlawscopeError, OSError) as error:
        return {"ok": False, "name": None, "digest": None, "recorded": None, "words": f"damaged: {error}"}
    recorded = _recorded(f"flawscope/weights/{card.name}.onnx")
    same = recorded is None or recorded == card.digest
    stated = "as installed" if recorded else "run from source, so there is no record to compare with"
    text = f"{card.name}, sha256 {card.digest[:12]}, {stated}"
    if not same:
        text = f"{card.name} has changed since it was installed; install flawscope again"
    return {"ok": same, "name": card.name, "digest": card.digest, "recorded": recorded, "words": text}


def _recorded(name: str) -> str | None:
    """Return the sha256 that the installation's record has of a file, or None where there is no record."""
    try:
        files = importlib.metadata.files("flawscope") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == name and file.hash is not None and file.hash.mode == "sha256":
            padded = file.hash.value + "=" * (-len(file.hash.value) % 4)
            return base64.urlsafe_b64decode(padded).hex()
    return None


def _self_test() -> dict[str, Any]:
    """Draw a few chips, teach them and judge one, in a folder that is removed again."""
    from flawscope.flows import api
    from flawscope.runtime.inspector import Inspector
    from flawscope.synth.write import write_chips

    with tempfile.TemporaryDirectory(prefix="flawscope-doctor-") as name:
        folder = Path(name)
        try:
            write_chips(folder / "chips", good=12, bad=1, size_wh=(128, 96), seed=0)
            start = time.perf_counter()
            trained = api.train(
                folder / "chips",
                out=folder / "run",
                settings={"budget": 96, "folds": 2, "settings": {"bank": 128}},
            )
            taught = time.perf_counter()
            inspector = Inspector.open(trained.bundle.path)
            image = next((folder / "chips" / "test" / "good").iterdir())
            inspector(image)
            inspection = inspector(image)
        except FlawscopeError as error:
            return {"ok": False, "error": str(error)}
    if inspection.verdict is None:
        return {"ok": False, "error": "the self-test's image got no verdict"}
    return {
        "ok": True,
        "teach_s": round(taught - start, 2),
        "verdict_ms": round(inspection.timings_ms["total"], 2),
        "verdict": inspection.verdict.value,
    }
