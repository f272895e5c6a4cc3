"""TIFF 6.0 and BigTIFF: the tags of the first page, whether its data is all there, and its samples.

The samples are decoded by tifffile where it needs no further codecs, and by OpenCV elsewhere.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_SAMPLES, _PLANAR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT = 277, 284, 320, 322, 323
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT = 273, 279, 324, 325, 338, 339
_WANTED = frozenset((
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR, _PALETTE,
    _TILE_WIDTH, _TILE_HEIGHT, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT,
))  # fmt: skip

_NONE, _DEFLATE = (1,), (8, 32946)
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)  # none, fax, LZW, JPEG, deflate, PackBits
_UNFOLDS = {1: 1, 8: 1032, 32946: 1032, 32773: 64, 5: 1400}  # most bytes that one coded byte gives


@dataclass(frozen=True, eq=False)
class Page:
    """The first page of a TIFF file as its tags describe it."""

    size_hw: tuple[int, int]
    bits: int
    samples: int
    compression: int
    photometric: int
    orientation: int
    separate: bool  # one plane after the other
    extra: int | None  # 0 nothing said, 1 alpha already multiplied in, 2 alpha apart
    sample_format: int  # 1 unsigned, 2 signed, 3 float
    tile_hw: tuple[int, int] | None
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    palette: tuple[int, ...]
    more: bool  # further pages follow
    orientation_at: int | None  # byte of the orientation's value
    order: str  # "<" or ">"


def first_page(content: bytes) -> Page:
    """Return the first page. Raises struct.error or IndexError where a tag lies beyond the end."""
    order, at, big = _prologue(content)
    tags, places, following = _directory(content, at, order=order, big=big)

    def one(tag: int, default: int) -> int:
        values = tags.get(tag, ())
        return values[0] if values else default

    tiled = _TILES in tags
    bits = tags.get(_BITS, (1,)) or (1,)
    return Page(
        size_hw=(one(_HEIGHT, 0), one(_WIDTH, 0)),
        bits=bits[0] if len(set(bits)) == 1 else 0,
        samples=one(_SAMPLES, 1),
        compression=one(_COMPRESSION, 1),
        photometric=one(_PHOTOMETRIC, 1),
        orientation=value if 1 <= (value := one(_ORIENTATION, 1)) <= 8 else 1,
        separate=one(_PLANAR, 1) == 2,
        extra=tags[_EXTRA][0] if tags.get(_EXTRA) else None,
        sample_format=one(_SAMPLE_FORMAT, 1),
        tile_hw=(one(_TILE_HEIGHT, 0), one(_TILE_WIDTH, 0)) if tiled else None,
        offsets=tags.get(_TILES if tiled else _STRIPS, ()),
        counts=tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ()),
        palette=tags.get(_PALETTE, ()),
        more=following != 0,
        orientation_at=places.get(_ORIENTATION),
        order=order,
    )


def exif_orientation(block: bytes) -> int:
    """Return the turn (1 to 8) that an EXIF block states, or 1 where it states none or cannot be read."""
    try:
        order, at, big = _prologue(block)
        tags, _, _ = _directory(block, at, order=order, big=big)
    except (struct.error, IndexError):
        return 1
    values = tags.get(_ORIENTATION, ())
    return values[0] if values and 1 <= values[0] <= 8 else 1


def unreadable(page: Page) -> str:
    """Say what about a sound page is not supported; empty where all is."""
    if page.sample_format != 1:
        return {2: "signed numbers", 3: "floating point numbers"}.get(page.sample_format, "unknown numbers")
    if page.bits not in (1, 2, 4, 8, 16):
        return f"{page.bits} bits a sample" if page.bits else "samples of unequal depth"
    if page.photometric not in (0, 1, 2, 3, 5, 6):
        return f"TIFF colours of kind {page.photometric}"
    if page.compression not in _COMPRESSIONS:
        return f"TIFF compression {page.compression}"
    if page.separate and page.bits == 16 and not _by_tifffile(page):
        return "16-bit planes with TIFF compression " + str(page.compression)
    if page.bits == 16 and page.photometric not in (0, 1, 2):
        return f"16-bit TIFF colours of kind {page.photometric}"
    return ""


def inconsistent(page: Page, *, max_pixels: int) -> str:
    """Say which tags contradict each other; empty where none do."""
    least = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}[page.photometric]
    if not least <= page.samples <= 8:
        return f"{page.samples} samples a pixel for colours of kind {page.photometric}"
    if page.photometric == 3 and len(page.palette) != 3 * 2**page.bits:
        return f"a palette of {len(page.palette)} numbers"
    if not page.offsets or len(page.offsets) != len(page.counts):
        return f"{len(page.offsets)} pieces with {len(page.counts)} lengths"
    if page.tile_hw is not None:
        height, width = page.tile_hw
        if not (0 < height and 0 < width and height * width <= max(max_pixels, 1 << 20)):
            return f"tiles of {width}x{height}"
        planes = page.samples if page.separate else 1
        across, down = -(-page.size_hw[1] // width), -(-page.size_hw[0] // height)
        if len(page.offsets) != planes * across * down:
            return f"{len(page.offsets)} tiles for {across}x{down}"
    return ""


def complete(page: Page, length: int) -> bool:
    """Whether every strip or tile lies within the file's `length` bytes and together can fill the page."""
    if any(at + count > length for at, count in zip(page.offsets, page.counts, strict=True)):
        return False
    height, width = page.size_hw
    unfolded = height * ((width * page.bits * page.samples + 7) // 8)
    if page.compression == 6 or page.photometric == 6:
        unfolded //= 2  # colours may be stored at half the resolution
    return unfolded <= sum(page.counts) * _UNFOLDS.get(page.compression, 65536)


def decode(content: bytes, page: Page) -> tuple[np.ndarray | None, bool]:
    """Return the samples, uint8 or uint16, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, as stored (not turned),
    and whether the alpha is multiplied into the colours. None where the decoders refuse."""
    if _by_tifffile(page):
        stored = _stored(content)
        return (None, False) if stored is None else (_coloured(stored, page), page.extra == 1)
    if page.orientation_at is not None:  # OpenCV turns TIFF files whatever it is told
        changed = bytearray(content)
        struct.pack_into(page.order + "H", changed, page.orientation_at, 1)
        content = bytes(changed)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None, False
    if pixels is None:
        return None, False
    if pixels.dtype == np.uint16 and page.photometric == 0:  # libtiff inverts 8 bits alone
        pixels = np.uint16(65535) - pixels
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
        if page.photometric == 5:
            pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels, pixels.dtype == np.uint8 or page.extra == 1


def _by_tifffile(page: Page) -> bool:
    return page.bits >= 8 and page.photometric in (0, 1, 2, 3) and page.compression in _NONE + _DEFLATE


def _stored(content: bytes) -> np.ndarray | None:
    """Return the samples as stored, (H, W) or (H, W, C)."""
    import tifffile  # 0.1 s that only those pay who have such files

    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            samples = np.asarray(page.asarray(maxworkers=1))
            if page.planarconfig == 2 and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, 2)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
            OSError, struct.error, zlib.error, MemoryError):  # fmt: skip
        return None  # what a parser of damaged files raises cannot be listed more closely
    return samples if samples.dtype in (np.uint8, np.uint16) and samples.ndim in (2, 3) else None


def _coloured(samples: np.ndarray, page: Page) -> np.ndarray | None:
    if samples.shape[:2] != page.size_hw:
        return None
    if page.photometric == 3:
        table = (np.array(page.palette, np.uint32).reshape(3, -1).T + 128) // 257
        plane = samples if samples.ndim == 2 else samples[..., 0]
        return np.asarray(np.minimum(table, 255).astype(np.uint8)[plane])
    colours = 3 if page.photometric == 2 else 1
    if samples.ndim == 2:
        return np.iinfo(samples.dtype).max - samples if page.photometric == 0 else samples
    base = samples[..., :colours]
    if page.photometric == 0:
        base = np.iinfo(samples.dtype).max - base
    if page.extra in (1, 2) and samples.shape[2] > colours:
        alpha = samples[..., colours : colours + 1]
        return np.concatenate([np.broadcast_to(base, (*base.shape[:2], 3)), alpha], axis=2)
    return np.ascontiguousarray(base if colours == 3 else base[..., 0])


def _prologue(content: bytes) -> tuple[str, int, bool]:
    """Return byte order, place of the first directory and whether it is a BigTIFF."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        raise struct.error("no TIFF byte order")
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    return order, at, big


def _directory(
    content: bytes, at: int, *, order: str, big: bool
) -> tuple[Mapping[int, tuple[int, ...]], Mapping[int, int], int]:
    """Return the wanted tags' values, the places of 16-bit values and the place of the next directory."""
    if not 8 <= at < len(content):
        raise IndexError(at)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), content, at)
    at += 8 if big else 2
    size, inline = (20, 8) if big else (12, 4)
    if at + entries * size > len(content):
        raise IndexError(at)
    tags: dict[int, tuple[int, ...]] = {}
    places: dict[int, int] = {}
    for _ in range(entries):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, at)
        if tag in _WANTED and kind in _CODES:
            where = at + size - inline
            if count * _SIZES[kind] > inline:
                (where,) = struct.unpack_from(order + ("Q" if big else "I"), content, where)
            if where + count * _SIZES[kind] > len(content):
                raise IndexError(where)
            tags[tag] = struct.unpack_from(f"{order}{count}{_CODES[kind]}", content, where)
            if kind == 3:
                places[tag] = where
        at += size
    following = 0
    if at + inline <= len(content):
        (following,) = struct.unpack_from(order + ("Q" if big else "I"), content, at)
    return tags, places, following
