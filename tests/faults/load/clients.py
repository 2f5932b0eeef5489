"""Clients that send requests during faults, and record the responses."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.faults.services.control_service import ControlledService


@dataclass
class Responses:
    """Responses of the service, from several threads."""

    statuses: Counter[int] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Descriptions of responses that violate the contract."""

    def answer(self, answer: httpx.Response) -> httpx.Response:
        """Record a response."""
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            if "retry-after" not in answer.headers or answer.json().get("code") != "database_unavailable":
                self.errors.append(f"503: {answer.headers} {answer.text[:200]}")
        elif answer.status_code >= 500:
            self.errors.append(f"{answer.status_code}: {answer.text[:200]}")
        return answer


class Clients:
    """Threads that work until the end of the `with` block; an exception of one of them is an error."""

    def __init__(self, service: ControlledService) -> None:
        self._service = service
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self.responses = Responses()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop the threads; each finishes its current request."""
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    def start(self, work: Callable[[httpx.Client], None]) -> None:
        """A client that does `work` again and again."""

        def run() -> None:
            service = self._service
            try:
                with httpx.Client(base_url=service.http.base_url, headers=service.http.headers, timeout=60) as http:
                    while not self._over.is_set():
                        work(http)
            except Exception as error:
                self.responses.errors.append(f"{type(error).__name__}: {error}")

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def submit(self, spec: dict[str, Any], pause: float, key: Callable[[], str] | None = None) -> None:
        """A client that submits; with keys it repeats what was answered 503 until it is accepted."""

        def work(http: httpx.Client) -> None:
            headers = {} if key is None else {"Idempotency-Key": key()}
            while True:
                answer = self.responses.answer(http.post("/v1/jobs", json=spec, headers=headers))
                if answer.status_code == 202:
                    self.responses.accepted.append(str(answer.json()["id"]))
                if answer.status_code != 503 or key is None:
                    break
                time.sleep(pause)
            time.sleep(pause)

        self.start(work)

    def poll(self, path: str, pause: float) -> None:
        """A client that looks."""

        def work(http: httpx.Client) -> None:
            self.responses.answer(http.get(path))
            time.sleep(pause)

        self.start(work)

    def follow(self, job_id: str, seen: list[int]) -> None:
        """A client that follows the events of a job, without ever taking up a stream again."""

        def work(http: httpx.Client) -> None:
            path = f"/v1/jobs/{job_id}/events"
            with http.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
                seen.extend(int(line[4:]) for line in answer.iter_lines() if line.startswith("id: "))
            self._over.wait()

        self.start(work)
