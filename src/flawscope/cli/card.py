"""`flawscope card`: what a bundle says about itself."""

from __future__ import annotations

from flawscope.cli import words
from flawscope.cli.options import AsJson, Model


def card(model: Model, as_json: AsJson = False) -> None:
    """Print a bundle's card: what it is, what it knows, what it promises."""
    from flawscope.decision.calibration import promise, thresholds
    from flawscope.flows.evaluate import traced
    from flawscope.runtime.bundle import open_bundle

    bundle = open_bundle(model)
    if as_json:
        calibration = bundle.contents.calibration
        words.say_json(
            {
                "bundle_id": bundle.id,
                "name": bundle.contents.name,
                "product": bundle.contents.product,
                "size_bytes": bundle.size_bytes,
                "promise": promise(calibration).to_json(),
                "thresholds": thresholds(calibration).to_json(),
                "settings": traced(bundle),
            }
        )
        return
    words.say(bundle.contents.card.rstrip())
    words.say()
    words.say(f"Bundle {bundle.id}, {model}")
