"""flawscope: photographs of parts into calibrated verdicts, small and offline.

import flawscope
flawscope.train("photographs", out="runs/part")
inspection = flawscope.Inspector.open("runs/part/model.flaw")("new.jpg")
report = flawscope.evaluate("runs/part/model.flaw", "photographs")
risks = flawscope.risk("runs/part/model.flaw", "photographs")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Inspector", "__version__", "evaluate", "risk", "train"]

if TYPE_CHECKING:
    from flawscope.flows.api import evaluate as evaluate
    from flawscope.flows.api import risk as risk
    from flawscope.flows.api import train as train
    from flawscope.runtime.inspector import Inspector as Inspector

_PLACES = {
    "Inspector": "flawscope.runtime.inspector",
    "train": "flawscope.flows.api",
    "evaluate": "flawscope.flows.api",
    "risk": "flawscope.flows.api",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for, so that importing flawscope costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'flawscope' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
