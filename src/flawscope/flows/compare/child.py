"""The process of one cell: `python -m flawscope.flows.compare.child CELL.json FOLDER`.

It ends by itself when whoever started it is gone: its standard input is a pipe that closes then.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path

from flawscope.core.cells import Cell

ORPHANED = 70


def main(arguments: list[str]) -> None:
    """Carry out the cell of a JSON file in a folder."""
    cell_file, folder = map(Path, arguments)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    from flawscope.flows.compare.work import carry_out  # after the thread: imports take a second

    carry_out(Cell.from_json(json.loads(cell_file.read_text(encoding="utf-8"))), folder)


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: a thread that waits in its buffer aborts the end of the process
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    main(sys.argv[1:])
