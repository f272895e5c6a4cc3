"""Randomness as an argument: independent streams derived from one seed and the name of their use."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator that depends on `seed` and on `names` alone, on every machine and in every
    process."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return np.random.default_rng(
        int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16], "little")
    )
