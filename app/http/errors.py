"""The error tree. Every error has a stable code and an HTTP status, and is sent as application/problem+json.

    ApiError
      BadRequest 400       the request is not valid HTTP, JSON or multipart
      Unauthorized 401     no key, or one that is not valid
      NotFound 404         no such resource (or another owner's)
      Conflict 409         the resource's state does not allow it
      TooLarge 413         the body is too large
      NotSupported 415     another content type is expected
      RangeRefused 416     the requested bytes are outside the file
      Invalid 422          well-formed, but invalid: has `errors` with pointers
      TooMany 429          this key asks too often, or has too much
      TooSlow 408          the headers or the body take too long
      Unavailable 503      try again later
      NoRoom 507           the disk has no space for this

Details say what was expected, what was found and what to do; they never contain the input or a secret.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.problems import Problem

MOST_PROBLEMS = 50
"""Of more errors in a body, only the first ones are sent."""


class ProblemDocument(Answer):
    """RFC 9457 problem details, with a stable `code` and, for a bad body, where its faults lie."""

    type: str = Field(description="`urn:stillhouse:problem:<code>`.")
    title: str = Field(description="Short name of the HTTP status.")
    status: int = Field(description="HTTP status code.")
    detail: str = Field(description="What was expected, what was found, and what can be done about it.")
    instance: str = Field(description="Path of the request and, after `#`, its id (also in the header `X-Request-Id`).")
    code: str = Field(description="Stable code of the cause, to decide by.")
    errors: tuple[Problem, ...] | None = Field(
        default=None, description="Errors in the body, each with its place; left out for other problems."
    )


class ApiError(Exception):
    """An error response."""

    status = 500
    title = "Internal error"

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.problems: tuple[Problem, ...] | None = None

    def document(self, instance: str) -> ProblemDocument:
        """The body of the response."""
        return ProblemDocument(
            type=f"urn:stillhouse:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            instance=instance,
            code=self.code,
            errors=self.problems,
        )


class BadRequest(ApiError):
    """The request cannot be read."""

    status = 400
    title = "Bad request"


class Unauthorized(ApiError):
    """No key, or one that is not valid."""

    status = 401
    title = "Unauthorized"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, headers={"WWW-Authenticate": 'Bearer realm="stillhouse"'})


def revoked() -> Unauthorized:
    """The error of a request whose key was revoked after it began."""
    return Unauthorized(
        "revoked_key", "the key was revoked during the request: ask an admin of the service for another"
    )


class Forbidden(ApiError):
    """The caller is known, and the request is refused all the same."""

    status = 403
    title = "Forbidden"


class NotFound(ApiError):
    """The resource does not exist."""

    status = 404
    title = "Not found"


class TooSlow(ApiError):
    """The headers or the body take too long."""

    status = 408
    title = "Request timeout"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail, headers={"Connection": "close"})


class Conflict(ApiError):
    """The resource's state does not allow it."""

    status = 409
    title = "Conflict"


class TooLarge(ApiError):
    """The body is too large."""

    status = 413
    title = "Content too large"


class NotSupported(ApiError):
    """Another content type is expected."""

    status = 415
    title = "Unsupported media type"


class RangeRefused(ApiError):
    """The requested bytes are outside the file."""

    status = 416
    title = "Range not satisfiable"


class Invalid(ApiError):
    """The body is well-formed, but invalid."""

    status = 422
    title = "Unprocessable content"

    def __init__(self, problems: Sequence[Problem], code: str = "invalid_request", detail: str | None = None) -> None:
        shown = tuple(problems[:MOST_PROBLEMS])
        super().__init__(code, detail or _summary(problems))
        self.problems = shown

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """A single error, which also gives the document its code."""
        return cls([Problem(pointer=pointer, code=code, detail=detail)], code, detail)


def _summary(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        place = problems[0].pointer
        return f"{f'at {place}: ' if place else ''}{problems[0].detail}"
    return f"{len(problems)} errors were found; `errors` lists where each is and how to correct it"


class TooMany(ApiError):
    """The key asks too often, or has too much. `retry_after` in seconds; None where waiting does not help."""

    status = 429
    title = "Too many requests"

    def __init__(self, code: str, detail: str, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}
        super().__init__(code, detail, headers=headers)


class Unavailable(ApiError):
    """A part of the service does not answer; the same request may succeed later."""

    status = 503
    title = "Service unavailable"

    def __init__(self, code: str, detail: str, retry_after: float = 2.0) -> None:
        super().__init__(code, detail, headers={"Retry-After": str(max(1, round(retry_after)))})


class NoRoom(ApiError):
    """The disk has no space."""

    status = 507
    title = "Insufficient storage"
