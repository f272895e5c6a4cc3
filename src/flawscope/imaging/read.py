"""Photographs as they come, made into what everything past here sees: RGB, upright, 8 bits.

Rules, each stated to the reader of `Image.warnings` where it changes a value:

- The content decides the format; a name that says otherwise is a warning.
- More than 8 bits: `levels` become 0 and 255; without levels the full range of the data type does (of a PGM:
  the maximum that its header states).
- Transparency is laid on white. Of a BMP the fourth channel is ignored, as it seldom means transparency.
- CMYK counts as inverted, the way Adobe stores it and everyone reads it.
- Of an animation or a file of several pages the first is read.
- EXIF turns are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flawscope.core.errors import ImageError
from flawscope.core.types import Image, Levels
from flawscope.imaging import headers, tiff
from flawscope.imaging.headers import Format, Header

MAX_PIXELS = 300_000_000
CLIPPED_SHARE_WARNED = 0.01  # levels from quantiles clip 0.2 % by their making


@dataclass(frozen=True, eq=False)
class _Samples:
    """What a decoder gives, not yet turned: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16."""

    pixels: np.ndarray
    premultiplied: bool = False
    maximum: int = 65535  # what white is in 16-bit data without levels


def read(path: Path | str, *, levels: Levels | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a photograph from a file.

    Raises ImageError with code missing, empty, not_an_image, truncated, corrupt, too_large or unsupported.
    """
    name = Path(path).as_posix()
    return read_bytes(_content(Path(path), name, max_pixels), name=name, levels=levels, max_pixels=max_pixels)


def size_of(path: Path | str) -> tuple[int, int]:
    """Return height and width of an image as `read` would show it, from its header. Raises ImageError for a
    file that is missing, cut off or no image."""
    name = Path(path).as_posix()
    header = headers.parse(_content(Path(path), name, MAX_PIXELS), name=name, max_pixels=MAX_PIXELS)
    height, width = header.size_hw
    return (width, height) if header.orientation >= 5 else (height, width)


def read_bytes(
    content: bytes, *, name: str, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read a photograph from a file's content; `name` stands in messages and in `Image.path`.

    Raises ImageError as `read` does.
    """
    header = headers.parse(content, name=name, max_pixels=max_pixels)
    warnings = []
    lie = headers.suffix_warning(header, name)
    if lie:
        warnings.append(lie)
    if header.more_frames:
        warnings.append("the file holds several pictures, the first was read")
    return _finish(_decode(content, header, name), header, name=name, levels=levels, warnings=warnings)


def from_array(array: np.ndarray, *, name: str = "array", levels: Levels | None = None) -> Image:
    """Take pixels from a camera or a program: grey (H, W) or (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4),
    uint8 or uint16. The array is left as it is, and later changes to it do not reach the image.

    Raises ImageError (unsupported) for any other shape or data type, (empty) for no pixels.
    """
    if array.dtype not in (np.uint8, np.uint16) or not (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    ):
        raise ImageError(
            f"{name} is no picture",
            expected="uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA",
            found=f"{array.dtype} {array.shape}",
            remedy="Floating point pixels in 0..1 become (array * 255).round().astype('uint8').",
            code="unsupported",
        )
    if array.size == 0:
        raise ImageError(f"{name} has no pixels", found=str(array.shape), code="empty")
    pixels = np.array(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array, order="C")
    return _finish(_Samples(pixels), None, name=name, levels=levels, warnings=[])


def read_mask(path: Path | str, *, above: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a mask: bool (H, W), upright, True where any colour's stored value is over `above`. None stands
    for 0, and for 127 in a JPEG, because its compression smears edges. Transparent pixels are not marked;
    where every colour is black, what is opaque is the mask.

    Raises ImageError as `read` does.
    """
    name = Path(path).as_posix()
    content = _content(Path(path), name, max_pixels)
    header = headers.parse(content, name=name, max_pixels=max_pixels)
    pixels = _decode(content, header, name).pixels
    if above is None:
        above = 127 if header.format is Format.JPEG else 0
    marked = np.asarray(pixels > above)
    if marked.ndim == 3:
        coloured = marked[..., :3].any(axis=2)
        if marked.shape[2] == 4:
            opaque = pixels[..., 3] > np.iinfo(pixels.dtype).max // 2
            coloured = coloured & opaque if coloured.any() else opaque & (not opaque.all())
        marked = np.asarray(coloured)
    return np.ascontiguousarray(_turned(marked, header.orientation))


def estimate_levels(
    paths: Iterable[Path | str],
    *,
    low: float = 0.001,
    high: float = 0.999,
    max_pixels: int = MAX_PIXELS,
) -> Levels | None:
    """Estimate black and white of files with more than 8 bits: the `low` and `high` quantiles of all their
    values together. One histogram of 65,536 bins is held, and one image at a time.

    Returns None where no file has more than 8 bits. Files that cannot be read are passed over; whoever reads
    them for their content names them.
    """
    counts = np.zeros(65536, np.int64)
    for path in paths:
        name = Path(path).as_posix()
        try:
            if not _may_be_deep(Path(path), name):
                continue
            content = _content(Path(path), name, max_pixels)
            header = headers.parse(content, name=name, max_pixels=max_pixels)
            if header.bits <= 8:
                continue
            pixels = _decode(content, header, name).pixels
        except ImageError:
            continue
        values = pixels[..., :3] if pixels.ndim == 3 else pixels
        if values.dtype == np.uint16:
            counts += np.bincount(values.ravel(), minlength=65536)
    total = int(counts.sum())
    if total == 0:
        return None
    below = np.cumsum(counts)
    black = int(np.searchsorted(below, low * total, side="right"))
    white = int(np.searchsorted(below, high * total, side="left"))
    black = min(black, 65534)
    return Levels(black, max(min(white, 65535), black + 1))


def _content(path: Path, name: str, max_pixels: int) -> bytes:
    """Return the file's bytes, unless it is larger than any readable image of `max_pixels` can be."""
    try:
        size = path.stat().st_size
        if size > max_pixels * 8 + (64 << 20):
            raise ImageError(
                f"{name} is too large to be read",
                expected=f"a picture of at most {max_pixels:,} pixels",
                found=f"a file of {size / 1e9:.1f} GB",
                code="too_large",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist", code="missing") from None
    except (OSError, ValueError) as error:  # a folder, no permission, a name with a zero byte
        reason = "a folder" if path.is_dir() else getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{name} cannot be opened", found=reason, code="missing") from None


def _may_be_deep(path: Path, name: str) -> bool:
    """Whether the first bytes allow more than 8 bits, so that files of 8 bits are not read whole."""
    try:
        with path.open("rb") as stream:
            start = stream.read(32)
    except (OSError, ValueError):
        return False
    kind = headers.sniff(start)
    if kind is Format.PNG:
        return start[24:25] == b"\x10"
    return kind in (Format.TIFF, Format.PNM)


def _decode(content: bytes, header: Header, name: str) -> _Samples:
    if header.format is Format.PNM:
        return _decode_pnm(content, header, name)
    if header.page is not None:
        pixels, premultiplied = tiff.decode(content, header.page)
        return _checked(pixels, header, name, premultiplied=premultiplied)
    deep = header.format in (Format.PNG, Format.WEBP)  # these may carry alpha or 16 bits
    flags = cv2.IMREAD_UNCHANGED if deep else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(header.plain or content, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is not None and pixels.ndim == 3:
        if pixels.shape[2] == 4:
            cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA, dst=pixels)
        else:
            cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return _checked(pixels, header, name, premultiplied=False)


def _checked(pixels: np.ndarray | None, header: Header, name: str, *, premultiplied: bool) -> _Samples:
    if pixels is None and header.format is Format.GIF:
        raise headers.unsupported(name, "a GIF, for which this OpenCV is too old or which is damaged")
    if pixels is None:
        raise headers.corrupt(name, f"{header.format} data that cannot be decoded")
    if pixels.shape[:2] != header.size_hw:
        height, width = header.size_hw
        found = f"{pixels.shape[1]}x{pixels.shape[0]} pixels where the header says {width}x{height}"
        raise headers.corrupt(name, found)
    return _Samples(pixels, premultiplied)


def _decode_pnm(content: bytes, header: Header, name: str) -> _Samples:
    colours = 3 if content[1:2] in b"36" else 1
    shape = header.size_hw if colours == 1 else (*header.size_hw, 3)
    samples = int(np.prod(shape))
    if content[1:2] in b"23":
        words = content[header.data_at :].split(None, samples)[:samples]
        if len(words) < samples:
            raise headers.truncated(name, len(content))
        try:
            values = np.array(words, dtype="S6").astype(np.int64)
        except ValueError:
            raise headers.corrupt(name, "a word where a number should stand") from None
        if values.min() < 0:
            raise headers.corrupt(name, "a negative value")
    else:
        kind = np.dtype(np.uint8) if header.bits == 8 else np.dtype(">u2")
        values = np.frombuffer(content, kind, samples, header.data_at)
    if header.bits == 16:
        return _Samples(np.minimum(values, 65535).astype(np.uint16).reshape(shape), maximum=header.maximum)
    if header.maximum == 255:
        return _Samples(np.minimum(values, 255).astype(np.uint8).reshape(shape))
    table = np.rint(np.minimum(np.arange(256) / header.maximum, 1) * 255).astype(np.uint8)
    return _Samples(table[np.minimum(values, 255)].reshape(shape))


def _finish(
    samples: _Samples, header: Header | None, *, name: str, levels: Levels | None, warnings: list[str]
) -> Image:
    """Bring samples to RGB, upright, 8 bits."""
    pixels, clipped_share = samples.pixels, 0.0
    clear = None
    if header is not None and header.transparent_grey is not None and pixels.ndim == 2:
        clear = pixels == header.transparent_grey
    if pixels.dtype == np.uint16:
        pixels, clipped_share = _to_8_bits(pixels, levels, samples.maximum, warnings)
    elif levels is not None:
        warnings.append("an 8-bit picture: the levels for 16-bit data were not applied")
    if pixels.ndim == 2:
        if clear is not None and clear.any():
            pixels = np.where(clear, np.uint8(255), pixels)
            warnings.append("transparent places were laid on white")
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    elif pixels.shape[2] == 4:
        if (pixels[..., 3] < 255).any():
            pixels = _on_white(pixels, premultiplied=samples.premultiplied)
            warnings.append("transparent places were laid on white")
        else:
            pixels = pixels[..., :3]
    if header is not None:
        pixels = _turned(pixels, header.orientation)
    return Image(np.ascontiguousarray(pixels), name, tuple(warnings), clipped_share)


def _to_8_bits(
    pixels: np.ndarray, levels: Levels | None, maximum: int, warnings: list[str]
) -> tuple[np.ndarray, float]:
    """Return 8 bits and the share of colour values outside the levels; alpha keeps its own full range."""
    if levels is None:
        warnings.append(f"16-bit data without levels: 0 to {maximum} became 0 to 255")
        levels = Levels(0, maximum)
    steps = (np.arange(65536, dtype=np.float64) - levels.black) / (levels.white - levels.black)
    table = np.rint(np.clip(steps, 0, 1) * 255).astype(np.uint8)
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    outside = np.count_nonzero(colours < levels.black) + np.count_nonzero(colours > levels.white)
    share = outside / colours.size
    if share > CLIPPED_SHARE_WARNED:
        warnings.append(f"{share:.1%} of the values lie outside the levels {levels.black} to {levels.white}")
    shallow = table[colours]
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        shallow = np.concatenate([shallow, (pixels[..., 3:] // 257).astype(np.uint8)], axis=2)
    return shallow, share


def _on_white(pixels: np.ndarray, *, premultiplied: bool) -> np.ndarray:
    """Lay uint8 RGBA on white, row blocks at a time so that large images need no float copy."""
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, pixels.shape[0], 256):
        block = pixels[top : top + 256].astype(np.uint16)
        colour, alpha = block[..., :3], block[..., 3:]
        shown = colour if premultiplied else (colour * alpha + 127) // 255
        result[top : top + 256] = np.minimum(shown + (255 - alpha), 255)
    return result


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Carry out an EXIF turn (1 to 8) on (H, W) or (H, W, C)."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
