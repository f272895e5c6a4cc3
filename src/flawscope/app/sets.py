"""Photographs that were sent to be taught from: sets on disk under names of the station's own making."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from flawscope.core import digest, files
from flawscope.core.errors import DataError, NotFoundError, RequestError, TooLargeError
from flawscope.core.types import GOOD, Json, Sample
from flawscope.imaging import headers

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,39}")
_NAME = re.compile(r"[0-9a-f]{24}\.[a-z]{3,4}")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "TIFF": ".tif", "WebP": ".webp", "PNM": ".ppm"}
_MOST = 20_000


@dataclass(frozen=True)
class SetImage:
    """One photograph of a set."""

    name: str
    label: str
    bytes: int
    mask: bool = False  # whether it has one

    def to_json(self) -> Json:
        """Return the photograph as JSON."""
        return dict(vars(self))


class Sets:
    """The sets of a station."""

    def __init__(self, folder: Path, *, max_pixels: int) -> None:
        self._root = folder
        self._max_pixels = max_pixels

    def new(self) -> str:
        """Make an empty set and return its id."""
        id = str(uuid.uuid4())
        (self._root / id).mkdir(parents=True)
        return id

    def folder(self, id: str) -> Path:
        """Return where a set lies. Raises NotFoundError."""
        try:
            path = self._root / str(uuid.UUID(id))
        except ValueError:
            path = None
        if path is None or not path.is_dir():
            raise NotFoundError(f"There is no set {id[:40]}")
        return path

    def add(self, id: str, content: bytes, *, label: str = GOOD) -> SetImage | None:
        """Keep a photograph in a set; None where the same one is there already. Raises ImageError for what is
        no readable image, RequestError for a label that is none, TooLargeError where the set is full."""
        if not is_label(label):
            raise RequestError(
                f"{label[:40]!r} is no label", expected="letters, digits, spaces, _ and -; at most 40"
            )
        folder = self.folder(id)
        header = headers.parse(content, name="The image", max_pixels=self._max_pixels)
        known = self.images(id)
        if len(known) >= _MOST:
            raise TooLargeError(f"The set has {_MOST:,} images already")
        name = name_of(content, header.format)
        if any(one.name == name for one in known):
            return None
        files.write_bytes(folder / label / name, content)
        return SetImage(name, label, len(content))

    def images(self, id: str) -> list[SetImage]:
        """Return the photographs of a set, by label and name."""
        return [
            SetImage(path.name, path.parent.name, path.stat().st_size, mask_of(path).is_file())
            for path in sorted(self.folder(id).glob("*/*"))
            if _NAME.fullmatch(path.name)
        ]

    def add_mask(self, id: str, name: str, content: bytes) -> None:
        """Keep the mask of a photograph of a set. Raises NotFoundError, ImageError for one that cannot be
        read, DataError for one that loses detail or is of another size."""
        photograph = self._path(id, name)
        mask = headers.parse(content, name="The mask", max_pixels=self._max_pixels)
        if mask.format is headers.Format.JPEG:
            raise DataError("The mask is a JPEG", expected="PNG, BMP or TIFF, which keep every pixel")
        own = headers.parse(photograph.read_bytes(), name="The image", max_pixels=self._max_pixels)
        height, width = own.size_hw if own.orientation < 5 else own.size_hw[::-1]
        if mask.size_hw != (height, width):
            raise DataError(
                "The mask does not fit its photograph",
                expected=f"{width} x {height} pixels",
                found=f"{mask.size_hw[1]} x {mask.size_hw[0]}",
            )
        files.write_bytes(mask_of(photograph), content)

    def find(self, id: str, content: bytes) -> SetImage:
        """Return the photograph of a set with this content. Raises NotFoundError."""
        name = name_of(content, headers.sniff(content))
        for one in self.images(id):
            if one.name == name:
                return one
        raise NotFoundError(f"The set has no image {name}")

    def read(self, id: str, name: str) -> bytes:
        """Return one photograph. Raises NotFoundError."""
        return self._path(id, name).read_bytes()

    def remove_image(self, id: str, name: str) -> None:
        """Take one photograph out. Raises NotFoundError."""
        path = self._path(id, name)
        path.unlink()
        mask_of(path).unlink(missing_ok=True)

    def remove(self, id: str) -> None:
        """Remove a set. Raises NotFoundError."""
        shutil.rmtree(self.folder(id))

    def _path(self, id: str, name: str) -> Path:
        for one in self.images(id):
            if one.name == name:
                return self.folder(id) / one.label / one.name
        raise NotFoundError(f"The set has no image {name[:40]}")


def is_label(text: str) -> bool:
    """Whether a label can be a folder's name."""
    return _LABEL.fullmatch(text) is not None


def name_of(content: bytes, kind: headers.Format | None) -> str:
    """Return the name of a photograph in sets: of its content, so that a copy has the same."""
    return set_name(digest.of_bytes(content)) + _SUFFIXES.get("" if kind is None else kind.value, ".png")


def set_name(sha256: str) -> str:
    """Return the name, without its ending, of the photograph of this digest in sets."""
    return sha256[:24]


def mask_of(photograph: Path) -> Path:
    """Return where the mask of a photograph of a set lies, if it has one."""
    label = photograph.parent
    return label.parent / "ground_truth" / label.name / f"{photograph.stem}_mask.png"


def samples_of(folder: Path, *, product: str = "") -> list[Sample]:
    """Return the photographs of a set as samples without a role, by label and name."""
    found = []
    for path in sorted(folder.glob("*/*")):
        if not _NAME.fullmatch(path.name):
            continue
        label, mask = path.parent.name, mask_of(path)
        found.append(
            Sample(
                f"{label}/{path.name}",
                path.as_posix(),
                label,
                product=product,
                mask_path=mask.as_posix() if mask.is_file() else None,
            )
        )
    return found
