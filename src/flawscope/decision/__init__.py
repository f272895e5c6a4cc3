"""From scores to verdicts: calibration, promises, costs."""
