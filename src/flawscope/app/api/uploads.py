"""Requests that bring many photographs: the multipart field `files`, and plain fields beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from flawscope.core.errors import RequestError
from flawscope.core.types import GOOD

MULTIPART = "multipart/form-data"


def body_of_files(**fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the OpenAPI document says of such a request, with the schemas of the plain fields."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    schema = {"type": "object", "required": ["files"], "properties": {"files": files, **fields}}
    return {"requestBody": {"required": True, "content": {MULTIPART: {"schema": schema}}}}


def content_type(request: Request) -> str:
    """Return a request's type of content, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def label_of(form: FormData) -> str:
    """Return the field `label`, `good` where it is left out. Raises RequestError where it is a file."""
    label = form.get("label", GOOD)
    if not isinstance(label, str):
        raise RequestError("The label is no text", expected="`good` or a defect's name")
    return label


@asynccontextmanager
async def sent_files(
    request: Request, *, most: int, fields: int
) -> AsyncIterator[tuple[list[UploadFile], FormData]]:
    """Read a request of at most so many files and plain fields. Raises RequestError where it brings no
    file, HTTPException for another type of content."""
    if content_type(request) != MULTIPART:
        raise HTTPException(415, f"expected {MULTIPART}")
    async with request.form(max_files=most, max_fields=fields) as form:
        files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
        if not files:
            raise RequestError(
                "The form brings no image", expected="files in the field `files`", code="empty"
            )
        yield files, form
