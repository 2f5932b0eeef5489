"""Getting, listing, waiting for, changing and deleting models, datasets and jobs."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from stillhouse.errors import (
    ConnectionFailed,
    JobCancelled,
    JobFailed,
    NotFound,
    NotStillhouse,
    Rejected,
    ServiceUnavailable,
    Timeout,
)
from stillhouse.flows.sending import Retries, fetched, request
from stillhouse.flows.steps import JSON, Body, Call, Flow, emit
from stillhouse.specs import plain

TERMINAL: Final = frozenset(("succeeded", "failed", "cancelled"))
"""States of a job that are final."""
LONGEST_POLL: Final = 30.0
SHOWN_EVERY: Final = 1.0
"""Seconds between two looks at a job whose progress is shown."""


class Deadline:
    """When a wait ends; never where `seconds` is None."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def poll(self, most: float) -> float:
        """How long the next long poll may take."""
        return most if self._at is None else max(0.0, min(most, self._at - time.monotonic()))

    def bound(self, retries: Retries) -> Retries:
        """Patient retries, which end with the wait."""
        patient = retries.patient()
        return patient if self._at is None else replace(patient, until=self._at)

    def check(self, what: str, way_out: str) -> None:
        """Raises Timeout."""
        if self._at is not None and time.monotonic() >= self._at:
            raise Timeout(f"expected {what} within {self._seconds:g} s, found it still going on: {way_out}")


def get(path: str, retries: Retries, **params: Any) -> Flow[JSON]:
    """GET as JSON. Parameters that are None are left out."""
    return (yield from fetched(Call("GET", path, given(params)), retries))


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not None."""
    return {name: value for name, value in params.items() if value is not None}


def names(value: str | Iterable[str] | None) -> list[str] | None:
    """One name or several as a parameter that may be repeated; None where there are none."""
    if isinstance(value, str):
        return [value]
    return list(value or ()) or None


def listed(
    path: str, retries: Retries, made: Callable[[JSON], Any], limit: int | None, params: Mapping[str, Any]
) -> Flow[None]:
    """Emit the entries of a list, page by page, at most `limit`."""
    left, after = limit, None
    while left is None or left > 0:
        size = 100 if left is None else min(left, 100)
        page = yield from get(path, retries, **params, limit=size, after=after)
        for entry in page.get("data", ()):
            yield from emit(made(entry))
        left = None if left is None else left - size
        after = page.get("next")
        if after is None:
            return


def changed(method: str, path: str, body: Any, retries: Retries) -> Flow[JSON]:
    """A change of a resource; the resource afterwards. Sent again only where the service did not get it."""
    call = Call(method, path, body=None if body is None else Body(json=plain(body)), repeatable=method != "PATCH")
    return (yield from fetched(call, retries))


def deleted(path: str, retries: Retries) -> Flow[None]:
    """Delete a resource. One that is gone when the request is repeated was deleted by the first one."""
    try:
        yield from request(Call("DELETE", path, repeatable=False), retries)
    except (ConnectionFailed, ServiceUnavailable):
        if not retries.count:
            raise
        with suppress(NotFound):
            yield from request(Call("DELETE", path), retries)


def inspected(kind: str, identity: str, retries: Retries, timeout: float | None) -> Flow[JSON]:
    """Wait until the inspection of an upload has ended. Raises Rejected, Timeout."""
    deadline = Deadline(timeout)
    while True:
        poll = deadline.poll(LONGEST_POLL)
        call = Call("GET", f"/v1/{kind}/{identity}", {"wait": f"{poll:.1f}"}, patience=poll)
        found = yield from fetched(call, deadline.bound(retries))
        if found.get("state") == "rejected":
            raise Rejected(found)
        if found.get("state") != "verifying":
            return found
        deadline.check(f"the inspection of {identity} to end", "wait for it again by `wait()`")


def ended(
    identity: str, retries: Retries, timeout: float | None, show: Callable[[JSON], None] | None = None
) -> Flow[JSON]:
    """Wait until a job has ended, whatever happens to connections and service meanwhile. Raises Timeout."""
    deadline = Deadline(timeout)
    while True:
        poll = deadline.poll(SHOWN_EVERY if show else LONGEST_POLL)
        call = Call("GET", f"/v1/jobs/{identity}", {"wait": f"{poll:.1f}"}, patience=poll)
        found = yield from fetched(call, deadline.bound(retries))
        if show:
            show(found)
        if found.get("state") in TERMINAL:
            return found
        deadline.check(f"job {identity} to end", "it goes on; wait for it again by `wait()`, or end it by `cancel()`")


def checked(job: JSON) -> JSON:
    """The job, if it succeeded. Raises JobCancelled, JobFailed."""
    if job.get("state") == "cancelled":
        raise JobCancelled(job)
    if job.get("state") == "failed":
        raise JobFailed(job)
    return job


def checked_access(retries: Retries) -> Flow[None]:
    """Check that the service is there and takes the key."""
    page = yield from get("/v1/jobs", retries, limit=1)
    if "data" not in page:
        raise NotStillhouse("expected a list of jobs, found another answer: check the URL")
