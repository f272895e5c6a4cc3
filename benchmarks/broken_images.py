"""Read deliberately broken files and account for every one: judged, or named with its fault.

    python benchmarks/broken_images.py --count 300 --seed 0

Prints a table of faults and outcomes. Exits with 1 where reading raises anything but ImageError or where the
process grows by more than the memory limit. The tests use the same files.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.rng import derive
from flawscope.imaging.read import read
from flawscope.imaging.write import encode

FORMATS = ("jpg", "png", "bmp", "tif", "webp", "pgm")
SIGNATURE_BYTES = 12  # what announces a format: a file cut before it ends is no image rather than a cut one


@dataclass(frozen=True)
class Broken:
    """One broken file."""

    path: Path
    fault: str
    format: str


def write_broken(folder: Path, *, count: int, seed: int) -> list[Broken]:
    """Write `count` broken files, faults and formats in turn, and return them; the same seed writes the same
    bytes.
    """
    random = derive(seed, "broken images")
    pairs = [(fault, form) for fault in FAULTS for form in FORMATS]
    broken = []
    for number in range(count):
        fault, form = pairs[number % len(pairs)]
        content, suffix = FAULTS[fault](form, random)
        path = folder / f"{number:04d}_{fault}.{suffix}"
        path.write_bytes(content)
        broken.append(Broken(path, fault, form))
    return broken


def outcome(path: Path) -> str:
    """Return `judged` or the code under which the file is refused."""
    try:
        read(path)
    except ImageError as error:
        return error.code
    return "judged"


def _whole(form: str, random: np.random.Generator) -> bytes:
    """Return a sound file of 24 to 160 pixels a side."""
    height, width = (int(value) for value in random.integers(24, 161, 2))
    coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 6, pixels.shape)
    pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    if form == "pgm" or random.random() < 0.3:
        pixels = np.ascontiguousarray(pixels[..., 0])
    if form in ("png", "tif", "pgm") and random.random() < 0.3:
        pixels = pixels.astype(np.uint16) * 257
    return encode(pixels, "." + form)


def _truncated(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    content = _whole(form, random)
    return content[: int(random.integers(SIGNATURE_BYTES, len(content) - 2))], form


def _flipped(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    content = bytearray(_whole(form, random))
    first = 0 if random.random() < 0.2 else SIGNATURE_BYTES
    last = min(len(content), 200) if random.random() < 0.5 else len(content)
    for place in random.integers(first, last, int(random.integers(1, 30))):
        content[place] ^= 1 << int(random.integers(8))
    return bytes(content), form


def _renamed(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    return _whole(form, random), FORMATS[(FORMATS.index(form) + 1 + int(random.integers(5))) % 6]


def _no_bytes(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    return bytes(int(random.integers(0, 2) * random.integers(1, 5000))), form


def _zeroed(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    content = bytearray(_whole(form, random))
    start = int(random.integers(SIGNATURE_BYTES, len(content)))
    stop = len(content) if random.random() < 0.5 else int(random.integers(start, len(content)))
    content[start:stop] = bytes(stop - start)
    return bytes(content), form


def _foreign(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    texts = (
        b"part;verdict\n1;OK\n",
        b"<html>not found</html>",
        random.bytes(2000),
        b"PK\x03\x04" + bytes(40),
    )
    start = _whole(form, random)[:8] if random.random() < 0.4 else b""
    return start + texts[int(random.integers(len(texts)))], form


def _bomb(form: str, random: np.random.Generator) -> tuple[bytes, str]:
    width, height = (int(random.choice([20_000, 40_000, 65_500])) for _ in range(2))
    return _BOMBS[form](width, height, random.random() < 0.5), form


def _jpeg_bomb(width: int, height: int, whole: bool) -> bytes:
    content = bytearray(encode(np.zeros((16, 16, 3), np.uint8), ".jpg"))
    at = content.index(b"\xff\xc0")
    struct.pack_into(">HH", content, at + 5, height, width)
    return bytes(content if whole else content[: at + 30])


def _png_bomb(width: int, height: int, whole: bool) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    zeros = zlib.compress(bytes(1 << 20), 9) if whole else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")


def _bmp_bomb(width: int, height: int, whole: bool) -> bytes:
    compression, bits = (1, 8) if whole else (0, 24)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + 4, 0, 0, 54 + 1024) + info + bytes(1024) + b"\xff\0\0\1"


def _tiff_bomb(width: int, height: int, whole: bool) -> bytes:
    content = bytearray(encode(np.zeros((16, 16), np.uint8), ".tif"))
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    for place in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from("<HH", content, place)
        if tag in (256, 257, 278):
            value = {256: width, 257: height, 278: height}[tag] if whole or tag != 278 else 1
            struct.pack_into("<H" if kind == 3 else "<I", content, place + 8, value)
    return bytes(content)


def _webp_bomb(width: int, height: int, whole: bool) -> bytes:
    size = min(width, 16_384) - 1 | min(height, 16_384) - 1 << 14
    picture = b"VP8L" + struct.pack("<IBI", 6, 0x2F, size) + b"\0\0"
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    body = b"WEBP" + (canvas if whole else b"") + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _pgm_bomb(width: int, height: int, whole: bool) -> bytes:
    return (b"P5" if whole else b"P2") + f" {width} {height} 255\n".encode() + bytes(100)


Breaker = Callable[[str, np.random.Generator], tuple[bytes, str]]

FAULTS: dict[str, Breaker] = {
    "truncated": _truncated,
    "bit_flipped": _flipped,
    "wrong_extension": _renamed,
    "no_bytes": _no_bytes,
    "zeroed": _zeroed,
    "foreign": _foreign,
    "bomb": _bomb,
}

_BOMBS: dict[str, Callable[[int, int, bool], bytes]] = {
    "jpg": _jpeg_bomb,
    "png": _png_bomb,
    "bmp": _bmp_bomb,
    "tif": _tiff_bomb,
    "webp": _webp_bomb,
    "pgm": _pgm_bomb,
}


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """Return faults by outcomes as text."""
    columns = sorted({result for _, result in outcomes})
    lines = io.StringIO()
    lines.write(f"{'fault':<16}" + "".join(f"{column:>14}" for column in columns) + "\n")
    for fault in FAULTS:
        counts = "".join(f"{outcomes[fault, column]:>14}" for column in columns)
        lines.write(f"{fault:<16}{counts}\n")
    return lines.getvalue()


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has held, or None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> int:
    """Write, read, tell; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-limit-mb", type=float, default=1000)
    arguments = parser.parse_args()
    outcomes: Counter[tuple[str, str]] = Counter()
    crashes = []
    before = peak_memory_mb()
    with tempfile.TemporaryDirectory() as folder:
        broken = write_broken(Path(folder), count=arguments.count, seed=arguments.seed)
        start = time.perf_counter()
        for file in broken:
            try:
                result = outcome(file.path)
            except Exception as error:
                result = "CRASHED"
                crashes.append(f"{file.path.name}: {type(error).__name__}: {error}")
            outcomes[file.fault, result] += 1
        seconds = time.perf_counter() - start
    after = peak_memory_mb()
    growth = None if before is None or after is None else after - before
    print(table(outcomes))
    print(f"{len(broken)} files in {seconds:.2f} s, {outcomes.total()} accounted for, {len(crashes)} crashes")
    print("memory was not measured" if growth is None else f"the process grew by {growth:.0f} MB")
    for crash in crashes:
        print(crash)
    return int(bool(crashes) or (growth is not None and growth > arguments.memory_limit_mb))


if __name__ == "__main__":
    sys.exit(main())
