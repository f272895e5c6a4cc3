"""The one shape of every answer: `{"ok": true, "data": ...}` or `{"ok": false, "error": {...}}`."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from flawscope.core.errors import (
    BundleError,
    BusyError,
    DataError,
    FlawscopeError,
    ImageError,
    PromiseError,
    RequestError,
    StoreError,
    UsageError,
)
from flawscope.core.types import Json


class Answer(JSONResponse):
    """JSON as short as it gets."""

    def render(self, content: Any) -> bytes:
        """Write the content; NaN is refused."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def answer(data: Any, *, status: int = 200) -> Answer:
    """Return data in the envelope."""
    return Answer({"ok": True, "data": data}, status_code=status)


def error_answer(error: FlawscopeError) -> Answer:
    """Return an error in the envelope, with its HTTP status."""
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, BusyError) else None
    return Answer({"ok": False, "error": error_json(error)}, status_code=status_of(error), headers=headers)


def error_json(error: FlawscopeError) -> Json:
    """Return an error as the documented JSON."""
    return {
        "code": error.code,
        "message": error.subject,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }


def status_of(error: FlawscopeError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, StoreError):
        return 503
    if isinstance(error, UsageError | ImageError | DataError | BundleError | PromiseError):
        return 422
    return 500


def plain_error(status: int, code: str, message: str) -> Response:
    """Return an error that is not one of ours in the envelope."""
    empty = {"expected": "", "found": "", "remedy": ""}
    return Answer({"ok": False, "error": {"code": code, "message": message, **empty}}, status_code=status)
