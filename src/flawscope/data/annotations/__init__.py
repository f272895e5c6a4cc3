"""Annotations: what is marked on photographs, in the formats that labelling tools and trainers read.

To add a format, write one module here with a writer and decorate it with `@annotation_format(...)`; a layout
in `data/layouts/annotated.py` reads it back.
"""

from __future__ import annotations

from flawscope.data.annotations import coco, png, voc, yolo
from flawscope.data.annotations.registry import Target, formats
from flawscope.data.annotations.types import Annotated, Annotation, Provenance

__all__ = ["Annotated", "Annotation", "Provenance", "Target", "coco", "formats", "png", "voc", "yolo"]
