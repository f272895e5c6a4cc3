"""Reading: each format against Pillow or tifffile, the stated rules, and the faults by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from flawscope.core.errors import ImageError
from flawscope.core.types import Levels
from flawscope.imaging.headers import sniff
from flawscope.imaging.read import estimate_levels, from_array, read, read_bytes, read_mask
from flawscope.imaging.write import encode, thumbnail, write_image


def _smooth(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _saved(picture: Pillow.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def _on_white(picture: Pillow.Image) -> np.ndarray:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Pillow.new("RGBA", picture.size, "white")
        picture = Pillow.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def _half_clear(mode: str) -> Pillow.Image:
    picture = Pillow.fromarray(_smooth()).convert(mode)
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    picture.putalpha(Pillow.fromarray(alpha))
    return picture


CASES = {
    "jpeg": lambda p: _saved(p, "JPEG"),
    "jpeg progressive": lambda p: _saved(p, "JPEG", progressive=True),
    "jpeg grey": lambda p: _saved(p.convert("L"), "JPEG"),
    "jpeg cmyk": lambda p: _saved(p.convert("CMYK"), "JPEG", quality=95),
    "jpeg restarts": lambda p: _saved(p, "JPEG", restart_marker_blocks=2),
    "png": lambda p: _saved(p, "PNG"),
    "png grey": lambda p: _saved(p.convert("L"), "PNG"),
    "png 1 bit": lambda p: _saved(p.convert("1"), "PNG"),
    "png palette": lambda p: _saved(p.convert("P"), "PNG"),
    "png palette clear": lambda p: _saved(p.convert("P"), "PNG", transparency=3),
    "png grey key": lambda p: _saved(
        p.convert("L"), "PNG", transparency=int(np.asarray(p.convert("L"))[5, 5])
    ),
    "png rgb key": lambda p: _saved(p, "PNG", transparency=p.getpixel((5, 5))),
    "png rgba": lambda p: _saved(_half_clear("RGB"), "PNG"),
    "png la": lambda p: _saved(_half_clear("L"), "PNG"),
    "bmp": lambda p: _saved(p, "BMP"),
    "bmp grey": lambda p: _saved(p.convert("L"), "BMP"),
    "bmp palette": lambda p: _saved(p.convert("P"), "BMP"),
    "webp": lambda p: _saved(p, "WEBP", lossless=True),
    "webp rgba": lambda p: _saved(_half_clear("RGB"), "WEBP", lossless=True, exact=True),
    "ppm": lambda p: _saved(p, "PPM"),
    "pgm": lambda p: _saved(p.convert("L"), "PPM"),
    "tiff": lambda p: _saved(p, "TIFF"),
    "tiff grey": lambda p: _saved(p.convert("L"), "TIFF"),
    "tiff 1 bit": lambda p: _saved(p.convert("1"), "TIFF"),
    "tiff lzw": lambda p: _saved(p, "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda p: _saved(p, "TIFF", compression="tiff_deflate"),
    "tiff packbits": lambda p: _saved(p, "TIFF", compression="packbits"),
    "tiff jpeg": lambda p: _saved(p, "TIFF", compression="jpeg"),
    "tiff palette": lambda p: _saved(p.convert("P"), "TIFF"),
    "tiff cmyk": lambda p: _saved(p.convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "tiff rgba": lambda p: _saved(_half_clear("RGB"), "TIFF"),
    "tiff rgba lzw": lambda p: _saved(_half_clear("RGB"), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pillow(case: str) -> None:
    content = CASES[case](Pillow.fromarray(_smooth()))
    ours = read_bytes(content, name="x").pixels.astype(int)
    theirs = _on_white(Pillow.open(io.BytesIO(content))).astype(int)
    assert np.abs(ours - theirs).max() <= (2 if "cmyk" in case or "rgba" in case or "la" in case else 1)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF lzw"])
def test_turns_agree_with_pillow(form: str, turn: int) -> None:
    exif = Pillow.Exif()
    exif[0x112] = turn
    options = {
        "TIFF": {"tiffinfo": {274: turn}},
        "TIFF lzw": {"tiffinfo": {274: turn}, "compression": "tiff_lzw"},
    }
    content = _saved(
        Pillow.fromarray(_smooth()),
        form.split()[0],
        **options.get(form, {"exif": exif.tobytes(), "quality": 100}),
    )
    theirs = _on_white(Pillow.open(io.BytesIO(content))).astype(int)
    assert np.abs(read_bytes(content, name="x").pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (32, 32)},
        {"planarconfig": "separate"},
        {"compression": "deflate"},
        {"compression": "deflate", "predictor": True},
        {"photometric": "miniswhite"},
    ],
    ids=str,
)
def test_tiff_layouts_agree_with_the_array(layout: dict, kind: type, channels: int) -> None:
    shape = (40, 50) if channels == 1 else (40, 50, channels)
    array = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    options = dict(layout)
    file = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    if channels == 1:
        options.pop("planarconfig", None)
    else:
        options["photometric"] = "rgb"
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    data = np.moveaxis(array, 2, 0) if options.get("planarconfig") == "separate" else array
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **file) as writer:
        writer.write(np.ascontiguousarray(data), **options)
    ours = read_bytes(stream.getvalue(), name="x.tif")
    if options.get("photometric") == "miniswhite":
        array = np.iinfo(kind).max - array
    assert np.array_equal(ours.pixels, from_array(array).pixels)


@pytest.mark.parametrize("form", ["png", "pgm", "tif", "tif lzw", "plain pgm"])
def test_16_bit_levels(form: str) -> None:
    raw = np.random.default_rng(1).integers(0, 65536, (31, 17)).astype(np.uint16)
    if form == "tif lzw":
        _, encoded = cv2.imencode(".tif", raw, (cv2.IMWRITE_TIFF_COMPRESSION, 5))
        content = encoded.tobytes()
    elif form == "plain pgm":
        content = b"P2 17 31 65535\n" + b" ".join(b"%d" % value for value in raw.ravel())
    else:
        content = encode(raw, "." + form)
    image = read_bytes(content, name="x", levels=Levels(10_000, 50_000))
    slow = [[min(255, max(0, round((int(v) - 10_000) / 40_000 * 255))) for v in row] for row in raw]
    assert np.array_equal(image.pixels, np.repeat(np.array(slow, np.uint8)[..., None], 3, 2))
    assert image.clipped_share == pytest.approx(((raw < 10_000) | (raw > 50_000)).mean())
    assert any("outside the levels" in text for text in image.warnings)
    full = read_bytes(content, name="x")
    assert any("without levels" in text for text in full.warnings)
    assert np.array_equal(full.pixels[..., 0], np.rint(raw / 65535 * 255).astype(np.uint8))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lzw_with_white_as_zero(kind: type) -> None:
    raw = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (31, 17)).astype(kind)
    content = bytearray(cv2.imencode(".tif", raw, (cv2.IMWRITE_TIFF_COMPRESSION, 5))[1].tobytes())
    at = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    assert content[at] == 1
    content[at] = 0
    ours = read_bytes(bytes(content), name="x").pixels
    assert np.array_equal(ours, from_array(np.iinfo(kind).max - raw).pixels)


def test_pgm_maximum_is_white() -> None:
    assert read_bytes(b"P5\n# camera\n2 1 100\n" + bytes([100, 50]), name="x").pixels[0, :, 0].tolist() == [
        255,
        128,
    ]
    deep = read_bytes(b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 0), name="x.pgm")
    assert deep.pixels[0, :, 0].tolist() == [255, 0]
    assert read_bytes(b"P3 1 1 255 9 8 7\n", name="x.ppm").pixels.tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_animation_gives_the_first_frame(form: str) -> None:
    frames = [Pillow.fromarray(_smooth(seed=seed)) for seed in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    content = _saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    image = read_bytes(content, name="x")
    assert np.array_equal(image.pixels, np.asarray(frames[0]))
    assert image.warnings == ("the file holds several pictures, the first was read",)


def test_second_page_is_a_warning() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for value in (7, 9):
            writer.write(np.full((8, 8), value, np.uint8), contiguous=False)
    image = read_bytes(stream.getvalue(), name="x.tif")
    assert image.pixels.max() == 7 and len(image.warnings) == 1


def test_content_decides_and_the_name_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "prüfling 部品.jpg"
    path.write_bytes(_saved(Pillow.fromarray(_smooth()), "PNG"))
    image = read(path)
    assert np.array_equal(image.pixels, _smooth())
    assert image.warnings == ("the name says JPEG, the content is PNG",)
    assert image.path == path.as_posix()


def test_levels_do_not_touch_8_bits() -> None:
    image = read_bytes(encode(_smooth(), ".png"), name="x.png", levels=Levels(100, 200))
    assert np.array_equal(image.pixels, _smooth())
    assert "levels" in image.warnings[0]


def test_estimated_levels_are_the_quantiles_of_all(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    raws = [random.integers(500 * i, 4000 + 300 * i, (50, 60)).astype(np.uint16) for i in range(3)]
    for i, raw in enumerate(raws):
        write_image(tmp_path / f"{i}.png", raw)
    write_image(tmp_path / "shallow.png", _smooth())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    levels = estimate_levels(sorted(tmp_path.iterdir()), low=0.01, high=0.99)
    everything = np.concatenate([raw.ravel() for raw in raws])
    assert levels is not None
    assert levels.black == pytest.approx(np.quantile(everything, 0.01), abs=2)
    assert levels.white == pytest.approx(np.quantile(everything, 0.99), abs=2)
    assert estimate_levels([tmp_path / "shallow.png", tmp_path / "absent.png"]) is None


@pytest.mark.parametrize("value", [0, 300, 65535])
def test_levels_of_one_grey_value_are_valid(tmp_path: Path, value: int) -> None:
    write_image(tmp_path / "flat.png", np.full((9, 9), value, np.uint16))
    levels = estimate_levels([tmp_path / "flat.png"])
    assert levels is not None and levels.black <= value <= levels.white


@pytest.mark.parametrize("array", [np.zeros((4, 4), bool), np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8)])
def test_arrays_of_other_kinds_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError) as caught:
        from_array(array)
    assert caught.value.code == "unsupported"


def test_array_is_not_shared() -> None:
    array = _smooth()
    before = array.copy()
    image = from_array(array)
    array[:] = 0
    assert np.array_equal(image.pixels, before)
    opaque = np.dstack([before, np.full(before.shape[:2], 255, np.uint8)])
    assert np.array_equal(from_array(opaque).pixels, before)


def _code(content: bytes, *, name: str = "part.x", max_pixels: int = 10**6) -> str:
    with pytest.raises(ImageError) as caught:
        read_bytes(content, name=name, max_pixels=max_pixels)
    assert name in str(caught.value)
    return caught.value.code


WHOLE = {
    "JPEG": lambda: CASES["jpeg"](Pillow.fromarray(_smooth())),
    "progressive": lambda: CASES["jpeg progressive"](Pillow.fromarray(_smooth())),
    "PNG": lambda: CASES["png"](Pillow.fromarray(_smooth())),
    "BMP": lambda: CASES["bmp"](Pillow.fromarray(_smooth())),
    "WebP": lambda: CASES["webp"](Pillow.fromarray(_smooth())),
    "PPM": lambda: CASES["ppm"](Pillow.fromarray(_smooth())),
    "TIFF": lambda: CASES["tiff"](Pillow.fromarray(_smooth())),
    "TIFF lzw": lambda: CASES["tiff lzw"](Pillow.fromarray(_smooth())),
    "plain": lambda: b"P2 60 3 255\n" + b" ".join(b"%d" % i for i in range(180)),
    "GIF": lambda: _saved(Pillow.fromarray(_smooth()).convert("P"), "GIF"),
}


@pytest.mark.parametrize("form", WHOLE)
@given(share=st.floats(0.02, 0.999))
@settings(max_examples=25, deadline=None)
def test_a_file_cut_anywhere_is_truncated(form: str, share: float) -> None:
    content = WHOLE[form]()
    cut = content[: max(12, min(int(share * len(content)), len(content) - 4))]
    assert _code(cut) == "truncated"


def test_truncation_says_where() -> None:
    content = encode(np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8), ".bmp")
    with pytest.raises(ImageError, match=r"new/0077\.bmp is cut off after 31 kB"):
        read_bytes(content[:31_000], name="new/0077.bmp")


def test_a_jpeg_of_a_phone_with_a_trailer_is_whole() -> None:
    content = WHOLE["JPEG"]()
    assert np.array_equal(
        read_bytes(content + b"trailer" * 9, name="x").pixels, read_bytes(content, name="x").pixels
    )


def test_lost_middle_of_a_jpeg_with_restarts_is_corrupt() -> None:
    content = CASES["jpeg restarts"](Pillow.fromarray(_smooth()))
    first = content.index(b"\xff\xd1")
    second = content.index(b"\xff\xd4", first)
    assert _code(content[:first] + content[second:]) == "corrupt"


def test_flipped_bit_in_a_png_is_corrupt() -> None:
    content = bytearray(WHOLE["PNG"]())
    content[len(content) // 2] ^= 16
    with pytest.raises(ImageError, match="wrong checksum in its 'IDAT' chunk") as caught:
        read_bytes(bytes(content), name="x")
    assert caught.value.code == "corrupt"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def test_bombs_are_refused_by_their_header() -> None:
    assert _code(_png(60_000, 60_000, b""), max_pixels=300_000_000) == "too_large"
    assert _code(b"P6 100000 100000 255\n" + b"0" * 99) == "too_large"
    assert _code(_png(900, 900, zlib.compress(b"\0" * 9))) == "truncated"
    assert _code(_png(0, 5, b"")) == "corrupt"


def test_a_png_whose_data_ends_early_is_named() -> None:
    data = zlib.compress(np.random.default_rng(0).bytes(2000))
    assert _code(_png(60, 60, data)) == "corrupt"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"just some notes", "not_an_image"),
        (bytes(4000), "not_an_image"),
        (b"%PDF-1.7 and so on", "unsupported"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "unsupported"),
        (b"P4 8 1 \xff", "unsupported"),
    ],
)
def test_what_is_no_image(content: bytes, code: str) -> None:
    assert _code(content) == code


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint32])
def test_tiff_numbers_that_are_not_read(kind: type) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((9, 9), kind))
    assert _code(stream.getvalue()) == "unsupported"


def test_missing_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(ImageError) as caught:
            read(path)
        assert caught.value.code == "missing"


@given(st.binary(max_size=300), st.sampled_from(sorted(WHOLE)), st.integers(4, 60))
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_else(tail: bytes, form: str, kept: int) -> None:
    content = WHOLE[form]()[:kept] + tail
    try:
        image = read_bytes(content, name="x", max_pixels=10**6)
    except ImageError as error:
        assert error.code in ("truncated", "corrupt", "too_large", "unsupported", "not_an_image")
    else:
        assert image.size_hw[0] * image.size_hw[1] <= 10**6


def test_masks_keep_small_values(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint16)
    mask[3:6, 4:9] = 1
    write_image(tmp_path / "deep.png", mask)
    write_image(tmp_path / "shallow.bmp", mask.astype(np.uint8))
    write_image(tmp_path / "smeared.jpg", (mask > 0).astype(np.uint8) * 255)
    for path in tmp_path.iterdir():
        assert np.array_equal(read_mask(path), mask > 0), path
    assert not read_mask(tmp_path / "deep.png", above=1).any()


@pytest.mark.parametrize(("colour", "elsewhere"), [(9, 0), (9, 9), (0, 0)])
def test_masks_drawn_on_transparency(tmp_path: Path, colour: int, elsewhere: int) -> None:
    truth = np.zeros((20, 30), bool)
    truth[3:6, 4:9] = True
    shades = np.where(truth, colour, elsewhere)[..., None].repeat(3, 2)
    alpha = np.where(truth, 200, 20)[..., None]
    write_image(tmp_path / "mask.png", np.concatenate([shades, alpha], 2).astype(np.uint8))
    assert np.array_equal(read_mask(tmp_path / "mask.png"), truth)
    alpha[:] = 255
    write_image(tmp_path / "black.png", np.concatenate([shades * 0, alpha], 2).astype(np.uint8))
    assert not read_mask(tmp_path / "black.png").any()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".jpg", ".webp"])
def test_written_files_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "deep" / f"ü{suffix}"
    write_image(path, _smooth())
    lossy = suffix in (".jpg", ".webp")
    assert np.abs(read(path).pixels.astype(int) - _smooth()).mean() <= (4 if lossy else 0)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert sniff(path.read_bytes()) is not None


def test_thumbnail_shrinks_and_never_grows() -> None:
    assert thumbnail(_smooth(), 20).shape == (15, 20, 3)
    assert thumbnail(_smooth(), 200).shape == (60, 80, 3)
