"""What a file is, by its content: format, size, depth and completeness, read before anything is decoded.

Decoders draw grey or black where data is missing and allocate whatever a header claims. Both are settled
here: a file that ends too early, a broken checksum or a size over the limit never reaches the decoder.
Standards: ITU T.81 (JPEG), PNG 3rd edition, RFC 9649 (WebP), Netpbm, the GIF89a specification and
Microsoft's BMP pages.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

import numpy as np

from flawscope.core.errors import ImageError
from flawscope.imaging import tiff

_DEFLATE_RATIO = 1032  # the most that one byte of a deflate stream can unfold to


class Format(StrEnum):
    """The file formats that are read."""

    JPEG = "JPEG"
    PNG = "PNG"
    BMP = "BMP"
    TIFF = "TIFF"
    WEBP = "WebP"
    PNM = "PNM"
    GIF = "GIF"


@dataclass(frozen=True, eq=False)
class Header:
    """What is known of an image before it is decoded."""

    format: Format
    size_hw: tuple[int, int]  # as stored, before any EXIF turn
    bits: int = 8  # per sample
    orientation: int = 1  # EXIF, 1 to 8
    more_frames: bool = False
    transparent_grey: int | None = None  # PNG: the grey value that stands for "nothing here"
    maximum: int = 255  # PNM: the value of white
    data_at: int = 0  # PNM: where the samples begin
    plain: bytes | None = None  # PNG: the file without its animation
    page: tiff.Page | None = None


_SUFFIXES = {
    ".jpg": Format.JPEG, ".jpeg": Format.JPEG, ".jpe": Format.JPEG, ".jfif": Format.JPEG,
    ".png": Format.PNG, ".apng": Format.PNG, ".bmp": Format.BMP, ".dib": Format.BMP,
    ".tif": Format.TIFF, ".tiff": Format.TIFF, ".webp": Format.WEBP, ".gif": Format.GIF,
    ".pgm": Format.PNM, ".ppm": Format.PNM, ".pnm": Format.PNM,
}  # fmt: skip

_FOREIGN = (  # images (or what people take for images) that are recognised in order to say so
    (b"P1", 0, "a Netpbm bitmap"), (b"P4", 0, "a Netpbm bitmap"), (b"P7", 0, "a Netpbm PAM file"),
    (b"ftypheic", 4, "a HEIC photograph"), (b"ftypmif1", 4, "a HEIF photograph"),
    (b"ftypavif", 4, "an AVIF photograph"), (b"\x00\x00\x00\x0cjP  ", 0, "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL image"), (b"\xff\x0a", 0, "a JPEG XL image"),
    (b"8BPS", 0, "a Photoshop document"), (b"%PDF", 0, "a PDF document"), (b"v/1\x01", 0, "an OpenEXR image"),
    (b"DICM", 128, "a DICOM file"),
)  # fmt: skip

READABLE = "JPEG, PNG, BMP, TIFF, WebP, PGM or PPM"


def parse(content: bytes, *, name: str, max_pixels: int) -> Header:
    """Return the header of a complete file whose size is within `max_pixels`.

    Raises ImageError with code empty, not_an_image, unsupported, truncated, corrupt or too_large.
    """
    if not content:
        raise ImageError(f"{name} is an empty file", remedy="Copy it again.", code="empty")
    kind = sniff(content)
    if kind is None:
        raise _unknown(content, name)
    try:
        header = _PARSERS[kind](content, name, max_pixels)
    except (struct.error, IndexError):  # a field lies beyond the end
        raise truncated(name, len(content)) from None
    return header


def sniff(content: bytes) -> Format | None:
    """Return the format that the first bytes announce, or None."""
    if content[:2] == b"\xff\xd8":
        return Format.JPEG
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return Format.PNG
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Format.TIFF
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Format.WEBP
    if content[:2] in (b"P2", b"P3", b"P5", b"P6") and content[2:3] in b" \t\r\n#":
        return Format.PNM
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return Format.GIF
    if content[:2] == b"BM" and (len(content) < 18 or content[14:18] in _BMP_HEADERS):
        return Format.BMP
    return None


def suffix_warning(header: Header, name: str) -> str | None:
    """Return a sentence where the name's ending promises another format than the content holds."""
    promised = _SUFFIXES.get(PurePath(name).suffix.lower())
    if promised is None or promised is header.format:
        return None
    return f"the name says {promised}, the content is {header.format}"


def truncated(name: str, length: int) -> ImageError:
    """Return the error of a file that ends before its image does; `length` in bytes."""
    amount = f"{length} bytes" if length < 1000 else f"{length / 1000:.3g} kB"
    amount = f"{length / 1e6:.3g} MB" if length >= 999_500 else amount
    return ImageError(f"{name} is cut off after {amount}", remedy="Copy it again.", code="truncated")


def corrupt(name: str, found: str) -> ImageError:
    """Return the error of a file whose bytes contradict its format."""
    return ImageError(f"{name} is damaged", found=found, remedy="Copy it again.", code="corrupt")


def unsupported(name: str, found: str) -> ImageError:
    """Return the error of a sound file of a kind that is not read."""
    return ImageError(
        f"{name} is of a kind that is not read", expected=READABLE, found=found, code="unsupported"
    )


def check_size(size_hw: tuple[int, int], *, name: str, max_pixels: int) -> None:
    """Raise ImageError (corrupt, too_large) unless the size is positive and within the limit."""
    height, width = size_hw
    if height < 1 or width < 1:
        raise corrupt(name, f"a size of {width}x{height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            f"{name} is too large to be read",
            expected=f"at most {max_pixels:,} pixels",
            found=f"{width}x{height}, {height * width:,} pixels",
            remedy="Raise max_pixels if the file is to be trusted.",
            code="too_large",
        )


def _unknown(content: bytes, name: str) -> ImageError:
    for mark, at, what in _FOREIGN:
        if content[at : at + len(mark)] == mark:
            return unsupported(name, what)
    found = "only zero bytes" if not content.strip(b"\0") else ""
    return ImageError(f"{name} is no image", expected=READABLE, found=found, code="not_an_image")


def _jpeg(content: bytes, name: str, max_pixels: int) -> Header:
    at, orientation = 2, 1
    size_hw, sequential = (0, 0), False
    while True:
        if content[at] != 0xFF:
            raise corrupt(name, f"no marker at byte {at}")
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            raise corrupt(name, "an end before any picture")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        if length < 2:
            raise corrupt(name, f"a segment of {length} bytes")
        if at + 2 + length > len(content):
            raise truncated(name, len(content))
        if marker == 0xDA:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width, components = struct.unpack_from(">BHHB", content, at + 4)
            if marker > 0xC2 or precision != 8:
                raise unsupported(name, f"a JPEG of process {marker - 0xC0} with {precision} bits")
            if components not in (1, 3, 4):
                raise corrupt(name, f"{components} colour components")
            size_hw, sequential = (height, width), marker < 0xC2
            check_size(size_hw, name=name, max_pixels=max_pixels)
        elif marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
            orientation = tiff.exif_orientation(content[at + 10 : at + 2 + length])
        at += 2 + length
    if size_hw == (0, 0):
        raise corrupt(name, "no frame header")
    at += 2 + length
    scan = np.frombuffer(content, np.uint8, offset=at)
    after = scan[np.flatnonzero(scan[:-1] == 0xFF) + 1]  # the bytes that follow an FF
    end = int(np.argmax(after == 0xD9)) if after.size else 0
    if not after.size or after[end] != 0xD9:
        raise truncated(name, len(content))
    if scan.size * 8 * 64 < size_hw[0] * size_hw[1]:  # a block takes one bit at the very least
        raise truncated(name, len(content))
    if sequential:
        _check_scan(after[:end], name)
    return Header(Format.JPEG, size_hw, orientation=orientation)


_MAY_FOLLOW_FF = np.zeros(256, bool)  # inside the coded data of a sequential JPEG
_MAY_FOLLOW_FF[[0x00, 0xFF, 0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xD0, 0xD8), *range(0xE0, 0xF0)]] = (
    True
)


def _check_scan(after: np.ndarray, name: str) -> None:
    """Refuse coded data with impossible markers, or with restart markers out of their order: both mean that
    bytes were lost or changed, and the decoder would go on with grey blocks."""
    if not _MAY_FOLLOW_FF[after].all():
        raise corrupt(name, "an impossible marker inside the picture's data")
    restarts = after[(after >= 0xD0) & (after <= 0xD7)]
    if restarts.size and 0xDA not in after and ((restarts - 0xD0) != np.arange(restarts.size) % 8).any():
        raise corrupt(name, "missing pieces inside the picture's data")


def _png(content: bytes, name: str, max_pixels: int) -> Header:
    width, height, bits, colour, _, _, _ = struct.unpack_from(">IIBBBBB", content, 16)
    view, at = memoryview(content), 8
    data, orientation, grey, animated, ended = 0, 1, None, False, False
    kept = [view[:8]]
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        stop = at + 12 + length
        if stop > len(content):
            raise truncated(name, len(content))
        (expected,) = struct.unpack_from(">I", content, stop - 4)
        if zlib.crc32(view[at + 4 : stop - 4]) != expected:
            raise corrupt(name, f"a wrong checksum in its {kind.decode('latin-1')!r} chunk")
        if at == 8:
            if kind != b"IHDR" or length != 13 or bits not in _PNG_BITS.get(colour, ()):
                raise corrupt(name, "no valid PNG header")
            check_size((height, width), name=name, max_pixels=max_pixels)
        if kind in (b"acTL", b"fcTL", b"fdAT"):
            animated = True
        else:
            kept.append(view[at:stop])
        if kind == b"IDAT":
            data += length
        elif kind == b"eXIf":
            orientation = tiff.exif_orientation(content[at + 8 : stop - 4])
        elif kind == b"tRNS" and colour == 0 and length == 2:
            grey = struct.unpack_from(">H", content, at + 8)[0] * (255 // (2**bits - 1) if bits < 8 else 1)
        elif kind == b"IEND":
            ended = True
            break
        at = stop
    unfolded = height * ((width * bits * _PNG_CHANNELS[colour] + 7) // 8)
    if not ended or data * _DEFLATE_RATIO < unfolded:
        raise truncated(name, len(content))
    return Header(
        Format.PNG, (height, width), bits=bits, orientation=orientation, more_frames=animated,
        transparent_grey=grey, plain=b"".join(kept) if animated else None,
    )  # fmt: skip


_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BMP_HEADERS = [struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)]


def _bmp(content: bytes, name: str, max_pixels: int) -> Header:
    data_at, header_size = struct.unpack_from("<II", content, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    height = abs(height)  # negative: stored from the top down
    check_size((height, width), name=name, max_pixels=max_pixels)
    if bits not in (1, 4, 8, 16, 24, 32) or data_at < 14 + header_size:
        raise corrupt(name, f"a BMP of {bits} bits a pixel with its data at byte {data_at}")
    if compression in (0, 3, 6):
        if data_at + (width * bits + 31) // 32 * 4 * height > len(content):
            raise truncated(name, len(content))
    elif compression not in (1, 2):
        raise unsupported(name, f"a BMP of compression {compression}")
    elif (len(content) - data_at) * 255 < width * height:  # run lengths: two bytes for at most 255 pixels
        raise truncated(name, len(content))
    return Header(Format.BMP, (height, width))


def _webp(content: bytes, name: str, max_pixels: int) -> Header:
    (size,) = struct.unpack_from("<I", content, 4)
    end = size + 8
    if end > len(content):
        raise truncated(name, len(content))
    at, size_hw, orientation, animated, pictures = 12, (0, 0), 1, False, 0
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", content, at)
        body = at + 8
        if body + length > end:
            raise truncated(name, len(content))
        if kind == b"VP8X":
            animated = bool(content[body] & 2)
            size_hw = (_u24(content, body + 7) + 1, _u24(content, body + 4) + 1)
            check_size(size_hw, name=name, max_pixels=max_pixels)
        elif kind == b"VP8 ":
            if content[body + 3 : body + 6] != b"\x9d\x01\x2a":
                raise corrupt(name, "no start code of its picture")
            width, height = struct.unpack_from("<HH", content, body + 6)
            size_hw, pictures = (height & 0x3FFF, width & 0x3FFF), pictures + 1
        elif kind == b"VP8L":
            mark, packed = struct.unpack_from("<BI", content, body)
            if mark != 0x2F:
                raise corrupt(name, "no signature of its picture")
            size_hw, pictures = ((packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1), pictures + 1
        elif kind == b"ANMF":
            pictures += 1
        elif kind == b"EXIF":
            orientation = tiff.exif_orientation(content[body : body + length].removeprefix(b"Exif\0\0"))
        at = body + length + (length & 1)
    if not pictures:
        raise corrupt(name, "no picture inside")
    check_size(size_hw, name=name, max_pixels=max_pixels)
    return Header(Format.WEBP, size_hw, orientation=orientation, more_frames=animated and pictures > 1)


def _u24(content: bytes, at: int) -> int:
    return content[at] | content[at + 1] << 8 | content[at + 2] << 16


_PNM = re.compile(rb"P([2356])" + rb"(?:\s|#[^\n]*\n)+(\d{1,10})" * 3 + rb"\s")


def _pnm(content: bytes, name: str, max_pixels: int) -> Header:
    found = _PNM.match(content[:65536])
    if found is None:
        if len(content) < 64:
            raise truncated(name, len(content))
        raise corrupt(name, "no valid Netpbm header")
    kind, width, height, maximum = (int(group) for group in found.groups())
    check_size((height, width), name=name, max_pixels=max_pixels)
    if not 0 < maximum < 65536:
        raise corrupt(name, f"a maximum of {maximum}")
    samples = height * width * (3 if kind in (3, 6) else 1)
    least = samples * (1 if maximum < 256 else 2) if kind > 3 else 2 * samples - 1
    if found.end() + least > len(content):
        raise truncated(name, len(content))
    bits = 8 if maximum < 256 else 16
    return Header(Format.PNM, (height, width), bits=bits, maximum=maximum, data_at=found.end())


def _gif(content: bytes, name: str, max_pixels: int) -> Header:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    check_size((height, width), name=name, max_pixels=max_pixels)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    while content[at] != 0x3B:
        if content[at] == 0x2C:
            frames += 1
            flags = content[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif content[at] == 0x21:
            at += 2
        else:
            raise corrupt(name, f"no block at byte {at}")
        while content[at]:
            at += 1 + content[at]
        at += 1
    if not frames:
        raise corrupt(name, "no picture inside")
    return Header(Format.GIF, (height, width), more_frames=frames > 1)


def _tiff(content: bytes, name: str, max_pixels: int) -> Header:
    page = tiff.first_page(content)
    check_size(page.size_hw, name=name, max_pixels=max_pixels)
    fault = tiff.unreadable(page)
    if fault:
        raise unsupported(name, fault)
    fault = tiff.inconsistent(page, max_pixels=max_pixels)
    if fault:
        raise corrupt(name, fault)
    if not tiff.complete(page, len(content)):
        raise truncated(name, len(content))
    return Header(
        Format.TIFF, page.size_hw, bits=page.bits, orientation=page.orientation, more_frames=page.more,
        page=page,
    )  # fmt: skip


_PARSERS = {
    Format.JPEG: _jpeg, Format.PNG: _png, Format.BMP: _bmp, Format.TIFF: _tiff, Format.WEBP: _webp,
    Format.PNM: _pnm, Format.GIF: _gif,
}  # fmt: skip
