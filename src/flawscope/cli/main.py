"""The entry point: this process made ready, then the command line."""

from __future__ import annotations

import logging
import os
import sys


def main() -> None:
    """Run the command line on this process's arguments and leave with its exit code."""
    try:
        from flawscope.cli.app import app  # in here, so that Ctrl-C is calm from the first moment on

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # names that the terminal cannot show must not stop the work
                stream.reconfigure(errors="backslashreplace")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # damaged images are named by us
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        app()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Nothing half-written was left.\n")
        sys.exit(130)
