"""Optional parts of the installation: one sentence with the install command where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from flawscope.core.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import and return `module`, which comes with `extra`. Raises MissingExtraError where it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed ({error})",
            remedy=f'Install it with: pip install "flawscope[{extra}]"',
        ) from error
