"""The whole service is stopped: jobs write a checkpoint and go back to the queue, connections are closed."""

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.exhaustive import sample
from tests.faults.services.control_service import ENDED, TRACEBACK, ControlledService
from tests.faults.services.serve import eventually

LONG = 2_000_000
"""More steps than a test waits for."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlledService]:
    """The same for all tests, each of which stops it and starts it again."""
    # No checkpoint is ever due: the one that is there was written because of the drain.
    folder = tmp_path_factory.mktemp("drained")
    with ControlledService(folder / "data", checkpoint_seconds=3600, lease_seconds=60) as running:
        yield running


@pytest.fixture
def service(started: ControlledService) -> Iterator[ControlledService]:
    """It runs, without jobs and with an empty log."""
    (started.data / "service.log").write_text("")
    yield started
    for job in started.pages("/v1/jobs"):
        if job["state"] not in ENDED:
            started.act(job["id"], "cancel")
            started.state(job["id"], *ENDED)


def _training(service: ControlledService, folder: Path) -> str:
    job_id = service.submit(service.training(service.dataset(folder), LONG))
    service.stepping(job_id)
    return job_id


class Listener(threading.Thread):
    """A client that follows a job's events until the server ends the stream."""

    def __init__(self, service: ControlledService, job_id: str) -> None:
        super().__init__(daemon=True)
        self._url = f"/v1/jobs/{job_id}/events"
        self._http = httpx.Client(base_url=service.http.base_url, headers=service.http.headers, timeout=60)
        self.hears = threading.Event()
        self.whole = False
        self.start()

    def run(self) -> None:
        with self._http, self._http.stream("GET", self._url, headers={"Accept": "text/event-stream"}) as answer:
            for _ in answer.iter_lines():
                self.hears.set()
        self.whole = True


def _given_back(service: ControlledService, job_id: str) -> dict[str, Any]:
    """The job, on a service started again; nothing was charged to it."""
    service.start()
    states = [event["state"] for event in service.events(job_id, "state")]
    assert states[:4] == ["queued", "starting", "running", "queued"]
    job = service.get(f"/v1/jobs/{job_id}")
    assert job["crashes"] == 0
    return job


@pytest.mark.parametrize("group", sample((False, True), keep=(True,)))
def test_a_drain_writes_a_checkpoint_charges_nothing_and_ends_streams(
    service: ControlledService, tmp_path: Path, group: bool
) -> None:
    """By its whole group, as systemd does: two signals for the worker, which must not count as two. By its main process
    alone is what the other tests here do.
    """
    job_id = _training(service, tmp_path)
    listener = Listener(service, job_id)
    assert listener.hears.wait(30)
    seconds = service.stop(group=group)
    listener.join(30)
    assert listener.whole
    assert seconds < 30  # what is promised; it takes about one
    assert TRACEBACK not in service.log
    kept = _given_back(service, job_id)["checkpoint"]
    assert kept["step"] > 0
    job = service.state(job_id, "running")
    assert job["attempt"] == 2
    service.stepping(job_id, kept["step"] + 1)


def test_a_client_that_reads_nothing_does_not_keep_jobs_from_their_drain(
    service: ControlledService, tmp_path: Path
) -> None:
    """The worker is drained at once, not when the last response has ended."""
    job_id = _training(service, tmp_path)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        key = service.http.headers["Authorization"]
        client.sendall(
            f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key}\r\nContent-Length: 9\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        client.settimeout(10)
        assert client.recv(64).startswith(b"HTTP/1.1 100 "), "the request has begun: a service that stops drops others"
        service.send(signal.SIGTERM)
        eventually(lambda: "draining with 1 jobs" in service.log)
        eventually(lambda: service.pid("supervisor") is None)
        assert service.running  # it still waits for the client
        service.ended()
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"service_stopping" in answer
    assert TRACEBACK not in service.log
    assert _given_back(service, job_id)["checkpoint"]["step"] > 0


def test_a_second_signal_waits_for_nobody(service: ControlledService, tmp_path: Path) -> None:
    job_id = _training(service, tmp_path)
    child = eventually(lambda: service.pid("child"))
    service.send(signal.SIGSTOP, [child])  # it will not follow
    service.send(signal.SIGTERM)
    eventually(lambda: "draining with 1 jobs" in service.log)
    service.stop()
    assert "killing with 1 jobs" in service.log
    assert TRACEBACK not in service.log
    assert _given_back(service, job_id)["checkpoint"] is None
