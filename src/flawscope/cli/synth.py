"""`flawscope synth`: drawn chips with defects and masks, to try things out on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flawscope.cli import words
from flawscope.cli.options import AsJson, size_wh
from flawscope.cli.progress import progress


def synth(
    out: Annotated[Path, typer.Option("--out", help="The folder to draw into; new or empty.")],
    good: Annotated[int, typer.Option("--good", help="Good parts to teach from.")] = 200,
    bad: Annotated[
        int, typer.Option("--bad", help="Defective test parts; as many good ones are added.")
    ] = 60,
    size: Annotated[str, typer.Option("--size", help="Width x height in px, such as 256x192.")] = "256x192",
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same pictures.")] = 0,
    shifts: Annotated[
        int, typer.Option("--shifts", help="Good parts in another light or place, in a folder of their own.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw photographs of chips, good and defective, with masks."""
    from flawscope.synth.write import write_chips

    with progress() as listener:
        counts = write_chips(
            out, good=good, bad=bad, size_wh=size_wh(size), seed=seed, shifts=shifts, progress=listener
        )
    if as_json:
        words.say_json({"folder": str(out), "images": counts, "seed": seed, "size_wh": list(size_wh(size))})
        return
    words.say(f"{out}: {words.counted(sum(counts.values()), 'picture')} of {size} px, seed {seed}.")
    words.say(words.columns([(name, str(number)) for name, number in counts.items()], right=frozenset({1})))
    words.say(f"Next: flawscope train --data {words.quoted(out)} --out runs/{out.name}")
