"""What is sent again, and what is said when that does not help."""

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pytest
from stillhouse import (
    ApiError,
    Client,
    Conflict,
    ConnectionFailed,
    Invalid,
    NotFound,
    NotStillhouse,
    Problem,
    Retries,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from stillhouse.flows import sending

from tests.client.scripted import PROBLEM, Answer, problem, scripted
from tests.demo.service import free_port

JOB = Answer(202, {"id": "job_1", "state": "queued"})
GONE = Answer(0)
HTML = Answer(200, b"<html>hello", kind="text/html; charset=utf-8")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.001)


class Make(Protocol):
    """Makes a client, which is closed after the test."""

    def __call__(self, url: str, retries: int | Retries = 3, timeout: float = 30.0) -> Client: ...


@pytest.fixture
def client() -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda url, retries=3, timeout=30.0: stack.enter_context(
            Client(url, "the-key", retries=retries, timeout=timeout)
        )


@pytest.mark.parametrize(
    "trouble",
    [
        GONE,
        Answer(502, b"bad gateway", kind="text/html"),
        problem(503, "unavailable"),
        problem(503, "x", Retry_After="0"),
    ],
    ids=["dropped", "gateway", "unavailable", "told"],
)
def test_a_get_and_a_post_with_a_key_are_sent_again_as_they_were(client: Make, trouble: Answer) -> None:
    with scripted([trouble, trouble, JOB]) as server:
        assert client(server.url).jobs.get("job_1").id == "job_1"
        assert len(server.asked) == 3
    with scripted([trouble, trouble, JOB]) as server:
        client(server.url).jobs.submit({"kind": "train"})
        assert len({asked.headers["Idempotency-Key"] for asked in server.asked}) == 1
        assert all(first.body == second.body for first, second in pairwise(server.asked))


def test_two_calls_have_two_idempotency_keys_and_the_caller_may_name_one(client: Make) -> None:
    with scripted([JOB]) as server:
        jobs = client(server.url).jobs
        jobs.submit({})
        jobs.submit({})
        jobs.submit({}, idempotency_key="mine")
        first, second, third = (asked.headers["Idempotency-Key"] for asked in server.asked)
    assert first != second
    assert third == "mine"


def test_a_patch_is_not_sent_again_once_it_may_have_arrived(client: Make) -> None:
    model = Answer(200, {"id": "mdl_1", "state": "rejected"})
    with scripted([model, GONE]) as server:
        found = client(server.url).models.get("mdl_1")
        with pytest.raises(ConnectionFailed, match="broken connection"):
            found.update(name="other")
        assert [asked.method for asked in server.asked] == ["GET", "PATCH"]


def test_too_many_requests_wait_as_long_as_the_service_says(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("stillhouse.drivers.time.sleep", slept.append)
    with scripted([problem(429, "too_many_requests", Retry_After="7"), JOB]) as server:
        client(server.url).jobs.get("job_1")
        assert len(server.asked) == 2
    assert slept == [7.0]


@pytest.mark.parametrize(("status", "kind"), [(429, TooManyRequests), (507, ServiceUnavailable)])
def test_a_limit_that_waiting_does_not_help_against_is_an_error_at_once(
    client: Make, status: int, kind: type[ApiError]
) -> None:
    with scripted([problem(status, "quota")]) as server:
        with pytest.raises(kind, match="expected a, found b: c"):
            client(server.url).jobs.submit({})
        assert len(server.asked) == 1


def test_retries_end_by_number_and_by_time(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([problem(503, "unavailable")]) as server:
        with pytest.raises(ServiceUnavailable):
            client(server.url, 2).jobs.get("job_1")
        assert len(server.asked) == 3
    monkeypatch.setattr(sending, "FIRST_PAUSE", 10.0)
    with scripted([problem(503, "unavailable")]) as server:
        with pytest.raises(ServiceUnavailable):
            client(server.url, Retries(count=5, seconds=1.0)).jobs.get("job_1")
        assert len(server.asked) == 1


def test_a_wait_with_a_time_ends_with_it_where_the_service_is_gone(client: Make) -> None:
    with scripted([JOB, GONE]) as server:
        job = client(server.url).jobs.get("job_1")
        with pytest.raises(ConnectionFailed, match="broken connection"):
            job.wait(timeout=0.3)
        assert len(server.asked) < 20, "without the bound it would be a thousand"


def test_a_key_does_not_follow_a_redirect_to_another_server(client: Make, tmp_path: Path) -> None:
    with scripted([Answer(200, b"bytes", kind="application/octet-stream")]) as store:
        redirect = Answer(307, b"", {"Location": f"{store.url}/file"})
        model = Answer(200, {"id": "mdl_1", "format": "onnx"})
        with scripted([model, redirect]) as server:
            found = client(server.url).models.get("mdl_1")
            assert found.download(tmp_path / "file").read_bytes() == b"bytes"
            assert server.asked[1].headers["Authorization"] == "Bearer the-key"
        assert "Authorization" not in store.asked[0].headers


def test_no_log_has_the_key(client: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted([problem(503, "unavailable"), JOB]) as server:
        client(server.url).jobs.get("job_1")
    assert "http" in caplog.text
    assert "the-key" not in caplog.text


def test_a_file_is_written_where_it_was_asked_for_whatever_a_server_calls_it(client: Make, tmp_path: Path) -> None:
    model = Answer(200, {"id": "../../mdl_1", "format": "a/b"})
    with scripted([model, Answer(200, b"bytes", kind="application/octet-stream")]) as server:
        path = client(server.url).models.get("mdl_1").download(tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes() == b"bytes"


def test_a_deletion_that_arrived_before_the_connection_broke_is_done(client: Make) -> None:
    with scripted([GONE, problem(404, "unknown_job")]) as server:
        client(server.url).jobs.delete("job_1")
    with scripted([problem(404, "unknown_job")]) as server, pytest.raises(NotFound):
        client(server.url).jobs.delete("job_1")


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Invalid), (401, Unauthorized), (403, Unauthorized), (404, NotFound), (409, Conflict)]
)
def test_an_error_has_status_code_detail_and_request_id(client: Make, status: int, kind: type[ApiError]) -> None:
    document = {"code": "some_code", "detail": "expected a, found b: c", "instance": "/v1/jobs#7f", "status": status}
    with scripted([Answer(status, document, kind=PROBLEM)]) as server, pytest.raises(kind) as found:
        client(server.url).jobs.get("job_1")
    error = found.value
    assert (error.status, error.code, error.detail) == (status, "some_code", "expected a, found b: c")
    assert error.request_id == "7f"
    assert "the-key" not in f"{error!r}{error}"


def test_the_places_of_several_errors_are_said_with_their_pointers(client: Make) -> None:
    errors = [
        {"pointer": "/student/hidden/0", "code": "out_of_range", "detail": "expected 1 or more, found 0"},
        {"pointer": "", "code": "missing", "detail": "expected `dataset`"},
    ]
    answer = Answer(422, {"code": "invalid_request", "detail": "2 errors", "errors": errors}, kind=PROBLEM)
    with scripted([answer]) as server, pytest.raises(Invalid) as found:
        client(server.url).jobs.submit({})
    assert found.value.errors[0] == Problem("/student/hidden/0", "out_of_range", "expected 1 or more, found 0")
    assert "/student/hidden/0: expected 1 or more, found 0 (out_of_range)" in str(found.value)
    assert "(the whole body): expected `dataset`" in str(found.value)


@pytest.mark.parametrize("answer", [HTML, Answer(404, b"<html>", kind="text/html"), Answer(200, [1, 2])])
def test_a_server_that_is_not_stillhouse_is_named_with_what_it_sends(client: Make, answer: Answer) -> None:
    with scripted([answer]) as server, pytest.raises(NotStillhouse, match=f"HTTP {answer.status} with .*check the URL"):
        client(server.url).check()


def test_a_port_where_nothing_listens_is_said_with_the_url(client: Make) -> None:
    port = free_port()
    with pytest.raises(ConnectionFailed, match=f"expected a service at http://127.0.0.1:{port}/, found none"):
        client(f"http://127.0.0.1:{port}", 1).check()


def test_https_to_a_server_without_tls_is_said_in_plain_words(client: Make) -> None:
    with scripted([JOB]) as server, pytest.raises(ConnectionFailed, match="without it: use http://"):
        client(server.url.replace("http:", "https:")).check()


def test_a_silent_server_times_out(client: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match="found none in time"):
            client(url, 0, timeout=0.2).check()


def test_a_stream_that_is_no_stream_of_events_is_named(client: Make) -> None:
    with scripted([JOB, HTML]) as server:
        job = client(server.url).jobs.get("job_1")
        with pytest.raises(NotStillhouse, match="text/html"):
            next(job.events())
