"""Optional parts of the installation: one sentence with the install command where one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from flawscope.core.errors import MissingExtraError

# what stands for an extra being installed
MODULES: dict[str, tuple[str, ...]] = {
    "train": ("torch", "torchvision", "timm", "safetensors", "onnxscript", "lightning_fabric"),
    "tracking": ("tensorboard",),
    "app": (
        "fastapi",
        "uvicorn",
        "sqlalchemy",
        "alembic",
        "psycopg",
        "argon2",
        "prometheus_client",
        "python_multipart",
        "babel",
    ),
    "tune": ("optuna",),
    "scale": ("ray",),
}


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed; nothing is imported."""
    return [module for module in MODULES[extra] if importlib.util.find_spec(module) is None]


def require_all(extra: str, *, purpose: str) -> None:
    """Raise MissingExtraError unless all that comes with `extra` can be imported; nothing is imported yet."""
    for module in missing_modules(extra):
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed",
            remedy=f'Install it with: pip install "flawscope[{extra}]"',
        )


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import and return `module`, which comes with `extra`. Raises MissingExtraError where it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed ({error})",
            remedy=f'Install it with: pip install "flawscope[{extra}]"',
        ) from error
