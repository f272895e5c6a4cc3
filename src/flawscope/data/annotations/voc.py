"""Pascal VOC (Everingham et al. 2010): `Annotations/NAME.xml`, boxes and labels.

Pixels are counted from 1 and the last one belongs to the box, as the VOC devkit has it. The format's own
masks are colour-coded pictures of all classes together; ours stand in the format `png`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from flawscope.core import files
from flawscope.core.errors import DataError
from flawscope.data.annotations.registry import Stems, Target, annotation_format, copied
from flawscope.data.annotations.types import Annotated, Annotation, Provenance

_MOST_BYTES = 16 << 20  # of one photograph's XML
_CONTROL = {code: "?" for code in range(32) if code not in (9, 10, 13)}  # what XML cannot hold


@annotation_format("voc", holds="boxes, confidence")
def write_voc(target: Target, photographs: Iterable[Annotated]) -> Path:
    """Write a file a photograph and return the folder."""
    stems = Stems(target.copy)
    for photograph in photographs:
        stem = stems.of(photograph.name)
        place = (
            target.folder
            / "JPEGImages"
            / target.place(photograph.name, stem).relative_to(target.folder / "images")
        )
        source = place if target.copy else target.photographs / photograph.name
        root = _element(photograph, source, target)
        ElementTree.indent(root)
        content = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        files.write_bytes(target.folder / "Annotations" / f"{stem}.xml", content + b"\n")
        if target.copy:
            copied(target, photograph.name, place)
    return target.folder


def _element(photograph: Annotated, source: Path, target: Target) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    height, width = photograph.size_hw
    _add(root, "folder", "JPEGImages" if target.copy else source.parent.name)
    _add(root, "filename", source.name)
    _add(root, "path", source.absolute().as_posix())
    origin = ElementTree.SubElement(root, "source")
    for name, text in (("database", "flawscope"), ("annotation", target.source), ("image", photograph.name)):
        _add(origin, name, text)
    size = ElementTree.SubElement(root, "size")
    for name, number in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, str(number))
    _add(root, "segmented", "0")
    for one in photograph.annotations:
        thing = ElementTree.SubElement(root, "object")
        for name, text in (
            ("name", one.label),
            ("pose", "Unspecified"),
            ("truncated", "0"),
            ("difficult", "0"),
        ):
            _add(thing, name, text)
        if one.confidence is not None:
            _add(thing, "confidence", f"{one.confidence:.6g}")
        box = ElementTree.SubElement(thing, "bndbox")
        left, top, right, bottom = one.box_xyxy
        for name, side in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
            _add(box, name, f"{side:.10g}")
    return root


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text.translate(_CONTROL)


@dataclass(frozen=True, eq=False)
class VocFile:
    """One photograph's annotations, and what the file says of where the photograph is."""

    filename: str
    path: str  # empty where the file does not say
    annotated: Annotated


def is_voc(path: Path) -> bool:
    """Say whether a file is XML with an annotation at its root."""
    try:
        return _parsed(path).tag == "annotation"
    except DataError:
        return False


def read_voc(path: Path) -> VocFile:
    """Read one file. Raises DataError with file and object for what does not fit, and for a file that defines
    entities: these are never needed here, and a few lines of them fill any memory."""
    root = _parsed(path)
    filename = (root.findtext("filename") or "").strip()
    if root.tag != "annotation" or not filename:
        raise DataError(
            f"{path} is no Pascal VOC file",
            expected="<annotation> with <filename>",
            found=f"<{root.tag}>" if root.tag != "annotation" else "no filename",
        )
    width, height = (_side(root, f"size/{name}", str(path)) for name in ("width", "height"))
    if min(width, height) < 1:
        raise DataError(f"{path} states no size of the photograph", expected="<size> with width and height")
    size_hw = (int(height), int(width))
    found = []
    for number, thing in enumerate(root.findall("object"), 1):
        where = f"{path}, object {number}"
        label = (thing.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{where} has no <name>")
        sides = [_side(thing, f"bndbox/{name}", where) for name in ("xmin", "ymin", "xmax", "ymax")]
        box = (
            max(0.0, sides[0] - 1),
            max(0.0, sides[1] - 1),
            min(sides[2], float(width)),
            min(sides[3], float(height)),
        )
        if not (box[0] < box[2] and box[1] < box[3]):
            raise DataError(
                f"{where} has no box inside the photograph",
                expected=f"xmin <= xmax <= {width:g} and ymin <= ymax <= {height:g}, from 1",
                found=", ".join(f"{side:g}" for side in sides),
            )
        sure = thing.findtext("confidence")
        confidence = None if sure is None else min(max(_side(thing, "confidence", where), 0.0), 1.0)
        found.append(Annotation(label, box, None, confidence, _origin(root)))
    return VocFile(
        filename, (root.findtext("path") or "").strip(), Annotated(filename, size_hw, tuple(found))
    )


def _origin(root: ElementTree.Element) -> Provenance | None:
    database = (root.findtext("source/database") or "").strip()
    return Provenance(by=database) if database else None


def _side(element: ElementTree.Element, name: str, where: str) -> float:
    text = (element.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        raise DataError(f"{where}: <{name}> is no number", expected="pixels", found=repr(text[:40]))
    return value


def _parsed(path: Path) -> ElementTree.Element:
    """Return the root of an XML file. Raises DataError for one that is too large, is broken, or declares a
    document type or an entity."""
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(
            f"{path} is too large for one photograph's annotations",
            expected=f"at most {_MOST_BYTES >> 20} MB",
            found=f"{path.stat().st_size / 1e6:.0f} MB",
        )
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise DataError(
            f"{path} declares a document type or entities",
            expected="plain Pascal VOC XML",
            remedy="Take the <!DOCTYPE ...> out of it",
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        root = builder.close()
    except expat.ExpatError as error:
        raise DataError(f"{path} is broken XML", found=str(error)) from None
    assert isinstance(root, ElementTree.Element)
    return root
