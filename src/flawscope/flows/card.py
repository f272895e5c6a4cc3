"""A bundle's card: one page of plain Markdown that says what it is, what it knows and what it promises."""

from __future__ import annotations

from flawscope.core.registry import methods
from flawscope.decision.calibration import promise
from flawscope.runtime.bundle import Contents


def card(contents: Contents) -> str:
    """Return the card of what is about to be sealed."""
    entry = methods[contents.method]
    height, width = contents.preprocess.size_hw
    backbone = contents.backbone
    taught, calibrated = contents.counts.get("fit", 0), contents.calibration
    lines = [
        f"# {contents.name}",
        "",
        f"{entry.summary}",
        "",
        f"- **Method**: {contents.method} ({entry.paper})",
        f"- **Taught with**: {taught} photographs of "
        + (f"the classes {', '.join(contents.classes)}" if contents.classes else "good parts"),
        f"- **Calibrated with**: {calibrated.parts} good parts, by {calibrated.mode.value}",
        f"- **Canvas**: {width}x{height} px, {contents.preprocess.fit.value}",
        f"- **Backbone**: {backbone['name']}, {backbone['source']}, licence {backbone['licence']}, "
        f"sha256 {str(backbone['digest'])[:12]}",
        f"- **Made**: {contents.created}, flawscope {contents.environment['versions']['flawscope']}, "
        f"seed {contents.environment['seed']}",
        *(
            [f"- **Limits of their own**: {', '.join(sorted(contents.calibrations))}"]
            if contents.calibrations
            else []
        ),
        "",
        "## What is promised",
        "",
        *promise(calibrated).sentences,
        "",
        "## Settings",
        "",
        *(f"- {name}: {value}" for name, value in contents.settings.items()),
        "",
    ]
    return "\n".join(lines)
