"""What the client raises.

    StillhouseError
      NotSignedIn          no URL, or no key for it
      ConnectionFailed     the service cannot be reached
      NotStillhouse        what answers at the URL is another server
      Timeout              the time that the caller gave is over
      Rejected             the inspection refused an upload
      JobFailed            a job ended without success
        JobCancelled       because it was cancelled
      Damaged              a downloaded file is not the one that the service has
      Unreadable           a file, frame, module or value that no upload or request can be made of
      ApiError             the service refused a request
        Invalid 400, 413, 415, 416, 422    Unauthorized 401, 403    NotFound 404    Conflict 409
        TooManyRequests 429                ServiceUnavailable 502, 503, 504, 507

Each has a stable `code` and a `detail`, which says what was expected, what was found and the way out. None of them
contains a key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final


class StillhouseError(Exception):
    """Base class of everything that the client raises on purpose: a stable code, and what to do."""

    code: str = "client_error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class NotSignedIn(StillhouseError):
    """No URL of a service, or no key for it."""

    code = "not_signed_in"


class ConnectionFailed(StillhouseError):
    """The service cannot be reached."""

    code = "connection_failed"


class NotStillhouse(StillhouseError):
    """What answers at the URL is not Stillhouse."""

    code = "not_stillhouse"


class Timeout(StillhouseError):
    """The time that the caller gave is over; what was waited for goes on."""

    code = "timeout"


class Damaged(StillhouseError):
    """A downloaded file is not the one that the service has."""

    code = "damaged"


class Unreadable(StillhouseError):
    """No upload or request can be made of this file, frame, module or value, or no file be written there."""

    code = "unreadable"


class Rejected(StillhouseError):
    """The inspection refused an upload. `json`: the model or dataset; its manifest can be corrected by `update`."""

    def __init__(self, json: Mapping[str, Any]) -> None:
        self.json = json
        rejection = json.get("rejection") or {}
        self.code: str = rejection.get("code", "rejected")
        self.message: str = rejection.get("message", "the service does not say why")
        super().__init__(f"{json.get('object')} {json.get('id')} was rejected ({self.code}): {self.message}")
        self.detail = self.message


class JobFailed(StillhouseError):
    """A job ended without success. `json`: the job."""

    def __init__(self, json: Mapping[str, Any], ended: str = "failed") -> None:
        self.json = json
        error = json.get("error") or {}
        self.code: str = error.get("code", ended)
        self.message: str = error.get("message", f"the job was {ended}")
        super().__init__(f"{json.get('kind')} job {json.get('id')} {ended} ({self.code}): {self.message}")
        self.detail = self.message


class JobCancelled(JobFailed):
    """The job was cancelled."""

    def __init__(self, json: Mapping[str, Any]) -> None:
        super().__init__(json, "cancelled")


@dataclass(frozen=True)
class Problem:
    """One error in the body of a request: where (a JSON pointer), its stable code, and what to do."""

    pointer: str
    code: str
    detail: str

    def __str__(self) -> str:
        return f"  {self.pointer or '(the whole body)'}: {self.detail} ({self.code})"


class ApiError(StillhouseError):
    """The service refused a request: HTTP status, stable code, what to do, the places, and the request's id."""

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[Problem] = (), request_id: str | None = None
    ) -> None:
        places = [each for each in errors if each.detail not in detail]
        super().__init__("\n".join((f"{detail} ({code}, HTTP {status})", *map(str, places))))
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.request_id = request_id


class Invalid(ApiError):
    """The request is not valid; `errors` has the places."""


class Unauthorized(ApiError):
    """The key is missing, wrong or revoked, or may not do this."""


class NotFound(ApiError):
    """There is no such model, dataset, job or file."""


class Conflict(ApiError):
    """The state of the resource does not allow it."""


class TooManyRequests(ApiError):
    """The key asks too often, or has too much."""


class ServiceUnavailable(ApiError):
    """The service, or a part of it, does not answer at present."""


_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    **dict.fromkeys((400, 413, 415, 416, 422), Invalid),
    **dict.fromkeys((401, 403), Unauthorized),
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
    **dict.fromkeys((502, 503, 504, 507), ServiceUnavailable),
}


def api_error(status: int, document: Mapping[str, Any]) -> ApiError:
    """The error that a problem document describes."""
    found = document.get("errors")
    places = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    errors = [
        Problem(str(each.get("pointer", "")), str(each.get("code", "")), str(each.get("detail", ""))) for each in places
    ]
    _, _, request_id = str(document.get("instance", "")).partition("#")
    code, detail = str(document.get("code") or f"http_{status}"), str(document.get("detail") or _phrase(status))
    return _BY_STATUS.get(status, ApiError)(status, code, detail, errors, request_id or None)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"
