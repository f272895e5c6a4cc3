"""What a run ran on: versions, processor, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from flawscope import __version__

_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnx",
    "scipy",
    "scikit-learn",
    "torch",
    "timm",
)


def versions() -> dict[str, str]:
    """Return the versions of flawscope, Python and the packages that decide numbers."""
    found = {"flawscope": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Return the machine in words: processor, cores, system."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count() or "unknown"),
        "system": f"{platform.system()} {platform.release()}",
    }


def peak_memory_mb() -> float | None:
    """Return this process's highest resident memory in MB, or None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
