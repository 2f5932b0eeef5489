"""Requests that are repeated where that is safe and may help, and answers that are checked.

Repeated are, with pauses that double and vary, requests that do not change anything when they arrive twice, and POSTs
with an Idempotency-Key:

- after an error of the connection, and after 502, 503 and 504;
- after 429 and 507 where the answer says when (`Retry-After`): without it, waiting does not help;
- after the 409 `in_flight`: the service still receives the upload whose connection broke.

A request that never left (no connection came about) is always repeated.
"""

import math
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from stillhouse.errors import ConnectionFailed, NotStillhouse, StillhouseError, api_error
from stillhouse.flows.steps import JSON, Call, Flow, send, sleep

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
_PATIENT: Final = 1000
_GATEWAYS: Final = frozenset((502, 503, 504))
_WHERE_TOLD: Final = frozenset((429, 507))


@dataclass(frozen=True)
class Retries:
    """How often a failed request is repeated: `count` times, and with at most `seconds` of pauses in all.

    The requests themselves do not count: an upload may take hours. `until`: none is repeated after this time, by
    `time.monotonic`.
    """

    count: int = 6
    seconds: float = 60.0
    until: float = math.inf

    def patient(self) -> "Retries":
        """For what waits anyway: a service that restarts is waited for, 10 minutes if need be."""
        return replace(self, count=_PATIENT, seconds=max(self.seconds, 600.0)) if self.count else self


class Attempts:
    """Counts failures in a row, and says how long to pause after each."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self.succeeded()

    def succeeded(self) -> None:
        """The next failure is the first one."""
        self._failed = 0
        self._paused = 0.0

    def pause(self, told: float | None = None) -> float | None:
        """Seconds until the next attempt, at least those that the service told; None: no further one."""
        doubled = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failed, 10))
        pause = max(doubled * random.uniform(0.5, 1.0), told or 0.0)
        self._failed += 1
        self._paused += pause
        allowed = self._failed <= self._retries.count and self._paused <= self._retries.seconds
        return pause if allowed and time.monotonic() + pause <= self._retries.until else None


@dataclass(frozen=True)
class _Failure:
    error: StillhouseError
    repeat: bool
    told: float | None = None


def request(call: Call, retries: Retries) -> Flow[httpx.Response]:
    """Send a request until it succeeds. Raises what `stillhouse.errors` lists."""
    response: httpx.Response = yield from attempted(call, retries, send, lambda response: response)
    return response


def attempted(
    call: Call, retries: Retries, step: Callable[[Call], Flow[Any]], response_of: Callable[[Any], httpx.Response]
) -> Flow[Any]:
    """The same for any step that sends a request; returns the reply of the step."""
    attempts = Attempts(retries)
    found: _Failure | None
    cause: Exception | None
    while True:
        try:
            reply = yield from step(call)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            found, cause = _of_connection(call, error), error
        else:
            found, cause = _of_answer(call, response_of(reply)), None
        if found is None:
            return reply
        pause = attempts.pause(found.told) if found.repeat else None
        if pause is None:
            raise found.error from cause
        yield from sleep(pause)


def fetched(call: Call, retries: Retries) -> Flow[JSON]:
    """Send a request until it succeeds; its answer as JSON."""
    return document((yield from request(call, retries)))


def document(response: httpx.Response) -> JSON:
    """The answer as a JSON object. Raises NotStillhouse."""
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise not_stillhouse(response)
    return found


def _of_answer(call: Call, response: httpx.Response) -> _Failure | None:
    """What is wrong with an answer; None for a success."""
    if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
        return None
    status, told = response.status_code, _retry_after(response)
    problem = _problem(response)
    again = status in _GATEWAYS or (status in _WHERE_TOLD and told is not None)
    again = again or (problem or {}).get("code") == "in_flight"
    error = api_error(status, problem or {}) if problem or status in _GATEWAYS else not_stillhouse(response)
    return _Failure(error, again and (call.repeatable or status in _WHERE_TOLD), told)


def _problem(response: httpx.Response) -> JSON | None:
    """The problem document of an error; None where it has none."""
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and "code" in found else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of `Retry-After`, which is a number or a date."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def not_stillhouse(response: httpx.Response) -> NotStillhouse:
    """The error for an answer that Stillhouse does not give."""
    kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
    return NotStillhouse(
        f"expected an answer of Stillhouse from {_origin(response.url)}, found HTTP {response.status_code} with "
        f"{kind}: check the URL; it is the address of the service without a path, or with the one that a proxy adds"
    )


def _origin(url: httpx.URL) -> str:
    return str(url.copy_with(query=None, fragment=None, username=None, password=None))


def _of_connection(call: Call, error: httpx.HTTPError | httpx.InvalidURL) -> _Failure:
    """What an error of httpx means, in plain words."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return _Failure(ConnectionFailed(f"expected a request that can be sent, found: {error}: check the URL"), False)
    if isinstance(error, httpx.TooManyRedirects):
        return _Failure(NotStillhouse("expected an answer, found redirects without end: check the URL"), False)
    where = _origin(error.request.url.copy_with(raw_path=b"/")) if isinstance(error, httpx.RequestError) else "the URL"
    if _cause(error, ssl.SSLError):
        return _Failure(ConnectionFailed(_tls(where, error)), False)
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return _Failure(ConnectionFailed(_broken(where, error, unsent)), unsent or call.repeatable)


def _tls(where: str, error: BaseException) -> str:
    if "WRONG_VERSION_NUMBER" in str(error) or "record layer failure" in str(error):
        return f"expected TLS at {where}, found a server without it: use http:// if that is meant"
    return (
        f"expected a certificate of {where} that this machine trusts, found: {error}: install the authority's "
        "certificate, and name its file by SSL_CERT_FILE"
    )


def _broken(where: str, error: Exception, unsent: bool) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"expected an answer from {where}, found none in time: try again, or give the client a longer `timeout`"
    if unsent:
        reason = str(error) or type(error).__name__
        return f"expected a service at {where}, found none ({reason}): check the URL, and whether the service runs"
    return (
        f"expected an answer from {where}, found a broken connection ({str(error) or type(error).__name__}): try again"
    )


def _cause(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error of this kind is among the causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kind):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
