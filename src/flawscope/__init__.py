"""flawscope: photographs of parts into calibrated verdicts, small and offline."""

__version__ = "0.1.0"
