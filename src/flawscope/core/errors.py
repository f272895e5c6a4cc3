"""The one error tree. Every error says which input, what was expected, what was found, and what to do.

Exit codes are part of the interface of the command line and are documented in `docs/reference/errors.md`.
"""

from __future__ import annotations

from typing import ClassVar


class FlawscopeError(Exception):
    """Say what went wrong in four parts; `str()` joins them into sentences for a person.

    `code` is the stable word for machines (JSON), `exit_code` the process status of the command line.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"

    def __init__(
        self, subject: str, *, expected: str = "", found: str = "", remedy: str = "", code: str = ""
    ) -> None:
        self.subject = subject
        self.expected = expected
        self.found = found
        self.remedy = remedy
        self.code = code or self.default_code
        super().__init__(subject, expected, found, remedy, self.code)

    def __str__(self) -> str:
        parts = [self.subject.rstrip(".")]
        if self.expected:
            parts.append(f"Expected {self.expected.rstrip('.')}")
        if self.found:
            parts.append(f"Found {self.found.rstrip('.')}")
        if self.remedy:
            parts.append(self.remedy.rstrip("."))
        return ". ".join(parts) + "."

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way through a process border (keyword-only arguments do not by default)."""
        arguments = (type(self), self.subject, self.expected, self.found, self.remedy, self.code)
        return (_rebuild, arguments)


def _rebuild(
    kind: type[FlawscopeError], subject: str, expected: str, found: str, remedy: str, code: str
) -> FlawscopeError:
    return kind(subject, expected=expected, found=found, remedy=remedy, code=code)


class UsageError(FlawscopeError):
    """The call itself is wrong: an option, a setting, a combination that means nothing."""

    exit_code = 2
    default_code = "usage"


class ConfigError(UsageError):
    """A configuration has an unknown key or a value that does not fit."""

    default_code = "config"


class ImageError(FlawscopeError):
    """One image cannot be read or judged. In a batch it is reported and the batch goes on (exit code 3).

    Codes: `missing`, `empty`, `not_an_image`, `truncated`, `corrupt`, `too_large`, `unsupported`, `too_dark`,
    `too_bright`, `featureless`.
    """

    exit_code = 3
    default_code = "corrupt"


class DataError(FlawscopeError):
    """A data set cannot serve: nothing found, no good parts, a layout that is not recognised."""

    exit_code = 4
    default_code = "data"


class LeakError(DataError):
    """The same image, part or group stands in two roles, or a test image was seen in teaching."""

    default_code = "leak"


class BundleError(FlawscopeError):
    """A `.flaw` file is damaged, newer than this program, or does not give its expected answer here."""

    exit_code = 5
    default_code = "bundle"


class MissingExtraError(FlawscopeError):
    """Something needs an optional part of flawscope that is not installed."""

    exit_code = 6
    default_code = "missing_extra"


class PromiseError(FlawscopeError):
    """What was asked for cannot be promised with the parts at hand."""

    exit_code = 7
    default_code = "promise"


class StoreError(FlawscopeError):
    """The station's database or image files cannot be opened, read or written, or they contradict
    themselves (`audit_chain`)."""

    exit_code = 8
    default_code = "store"


class RequestError(FlawscopeError):
    """A request to the station is refused. `status` is the HTTP status that says so."""

    default_code = "bad_request"
    exit_code = 9
    status = 400


class NotFoundError(RequestError):
    """What a request names is not there."""

    default_code = "not_found"
    status = 404


class ConflictError(RequestError):
    """What a request wants contradicts what is there."""

    default_code = "conflict"
    status = 409


class TooLargeError(RequestError):
    """A request brings more bytes, pixels or files than are taken."""

    default_code = "too_much"
    status = 413


class LoginError(RequestError):
    """Who asks is not known, or has given no proof."""

    default_code = "login"
    status = 401


class ForbiddenError(RequestError):
    """Who asks is known, but may not do this; or the request comes from another page."""

    default_code = "forbidden"
    status = 403


class BusyError(RequestError):
    """The station is full for the moment; `retry_after_s` says when to come back."""

    default_code = "busy"
    status = 503
    retry_after_s = 1


class TooOftenError(BusyError):
    """Too many failed tries; `retry_after_s` says when the next one is listened to."""

    default_code = "too_often"
    status = 429
