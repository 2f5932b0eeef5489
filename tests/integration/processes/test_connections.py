"""Strangers without a key, who open connections and send little or nothing, do not stop the service."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.integration.api.harness import MODEL, safetensors
from tests.integration.processes.api_process import SOON, ApiProcess, eventually, is_closed

HEADER_SECONDS = 2.0
FILES = 256
HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """The API with 256 descriptors."""
    data = tmp_path_factory.mktemp("connections") / "data"
    settings = {"header_seconds": HEADER_SECONDS, "keep_alive_seconds": 1, "connection_share": 1}
    settings |= {"body_seconds": 5, "body_bytes_per_second": 10}
    with ApiProcess(data, FILES, **settings) as running:
        yield running


def test_260_half_sent_headers_and_silent_connections_do_not_stop_the_probes(api: ApiProcess) -> None:
    before = len(api.log_file.read_text().splitlines())
    began = time.monotonic()
    with ExitStack() as stack:
        hostile = [stack.enter_context(api.connect(HALF if number % 2 else b"")) for number in range(260)]
        for _ in range(5):
            assert api.is_ready()
            assert httpx.get(f"{api.url}/healthz").status_code == 200
        eventually(lambda: all(is_closed(each) for each in hostile))
    lines = len(api.log_file.read_text().splitlines()) - before
    assert lines <= 5 * (time.monotonic() - began + 1)


def test_what_is_no_http_is_logged_once_a_second(api: ApiProcess) -> None:
    before, began = len(api.log_file.read_text().splitlines()), time.monotonic()
    for _ in range(100):
        with api.connect(b"\x16\x03\x01\r\n\r\n") as connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
    assert len(api.log_file.read_text().splitlines()) - before <= time.monotonic() - began + 2


CHUNKED = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
BAD: dict[str, tuple[bytes, str]] = {
    "two lengths": (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED, "both Content-Length and Transfer"),
    "chunks in 1.0": (b"POST /v1/jobs HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "in HTTP/1.0"),
    "lengths that differ": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "that differ",
    ),
    "no number": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "no number of bytes"),
    "another coding": (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "than chunked"),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", "no header Host"),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "several headers Host"),
    "a user": (b"GET http://me@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "with a user"),
    "no request": (b"secret\r\n\r\n", "found bytes that are not one"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_two_servers_could_read_differently_is_refused_with_the_way_out_and_nothing_after_it_is_answered(
    api: ApiProcess, name: str
) -> None:
    request, found = BAD[name]
    with api.connect(request + WHOLE) as connection:
        assert_refused(connection, found)


def test_headers_that_are_too_long_are_refused_with_the_way_out(api: ApiProcess) -> None:
    with api.connect(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 66_000) as connection:
        assert_refused(connection, "more than 65536 bytes")


def assert_refused(connection: socket.socket, found: str) -> None:
    head, body = whole_answer(connection)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head.lower()
    problem = json.loads(body)
    assert (problem["code"], problem["status"]) == ("bad_http", 400)
    assert found in problem["detail"]
    assert "secret" not in body.decode()


def whole_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of all that comes until the connection is closed."""
    received = b""
    with suppress(ConnectionResetError):  # what is sent after the refusal is not read
        while piece := connection.recv(65_536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:1/healthz", "127.0.0.1", 200),
        ("HTTP://127.0.0.1/healthz?x=1", "evil.example", 200),
        ("http://evil.example/healthz", "127.0.0.1", 400),
        ("http://localhost", "127.0.0.1", 404),
        ("/healthz", "localhost:evil", 400),
    ],
)
def test_a_whole_url_is_taken_and_its_host_counts(api: ApiProcess, target: str, host: str, status: int) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with api.connect(request.encode()) as connection:
        head, body = whole_answer(connection)
    assert int(head.split()[1]) == status
    assert status != 400 or json.loads(body)["code"] == "unknown_host"


def test_head_is_answered_without_a_body_and_an_upgrade_as_if_it_were_not_asked(api: ApiProcess) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n"
    with api.connect(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as connection:
        head, body = whole_answer(connection)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == b""
    before = len(api.log_file.read_text())
    with api.connect(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + upgrade) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert api.log_file.read_text()[before:] == ""


def test_headers_that_do_not_end_are_answered_408_and_silence_is_closed_without_an_answer(api: ApiProcess) -> None:
    with api.connect(HALF) as half, api.connect() as silent:
        began = time.monotonic()
        while time.monotonic() < began + HEADER_SECONDS / 2:
            half.sendall(b"x")  # bytes that arrive do not extend the time
            time.sleep(0.2)
        answer = half.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"headers_too_slow"' in answer
        assert silent.recv(65_536) == b""
        assert time.monotonic() - began < HEADER_SECONDS + SOON


def test_a_body_that_trickles_in_after_its_refusal_is_cut(api: ApiProcess) -> None:
    refused = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    )
    with api.connect(refused) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")

        def is_cut() -> bool:
            connection.setblocking(True)
            with suppress(ConnectionError):
                connection.sendall(b" ")
            return is_closed(connection)

        eventually(is_cut)


def test_an_idle_connection_is_closed_after_the_keep_alive_time(api: ApiProcess) -> None:
    with api.connect(WHOLE) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: is_closed(connection))


def test_requests_in_progress_outlast_the_deadlines_and_beyond_them_only_probes_are_answered(api: ApiProcess) -> None:
    most = int(re.findall(r"at most (\d+) connections", api.log_file.read_text())[0])
    assert most < FILES / 2
    slow = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        busy = [stack.enter_context(api.connect(slow)) for _ in range(most)]
        for each in busy:  # until a request has begun, its connection is an idle one, which gives way to others
            assert each.recv(65_536).startswith(b"HTTP/1.1 100 ")
        ends = time.monotonic() + HEADER_SECONDS + 1.5
        while time.monotonic() < ends:
            for each in busy:
                each.sendall(b" " * 40)
            assert api.is_ready()
            time.sleep(0.4)
        refused = httpx.get(f"{api.url}/v1/jobs", headers={"Authorization": f"Bearer {api.key}"})
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_connections")
        assert int(refused.headers["Retry-After"]) >= 1
        assert not any(is_closed(each) for each in busy)
        crowd = [stack.enter_context(api.connect()) for _ in range(60)]
        assert api.is_ready()
        eventually(lambda: any(is_closed(each) for each in crowd))
    eventually(lambda: httpx.get(f"{api.url}/v1/jobs").status_code == 401)


def test_long_polls_and_streams_outlast_every_deadline(api: ApiProcess) -> None:
    headers = {"Authorization": f"Bearer {api.key}"}
    with httpx.Client(base_url=api.url, headers=headers, timeout=SOON) as http:
        manifest, file = json.dumps(MODEL), ("m.safetensors", safetensors())
        model = http.post("/v1/models", data={"manifest": manifest}, files={"file": file}).json()["id"]
        (job,) = http.get("/v1/jobs?kind=inspect").json()["data"]
        with http.stream("GET", f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert next(lines)
            polled = http.get(f"/v1/models/{model}?wait=6.5")  # longer than all of them
            assert (polled.status_code, polled.json()["state"]) == (200, "verifying")
            assert http.delete(f"/v1/models/{model}").status_code == 409
            http.post(f"/v1/jobs/{job['id']}/cancel")
            assert any("cancelled" in line for line in lines)


def test_an_answer_that_is_not_read_is_cut_and_one_that_is_read_slowly_is_not(api: ApiProcess) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 40

    def connect() -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(SOON)
        connection.connect(("127.0.0.1", api.port))
        connection.sendall(request)
        return connection

    with connect() as unread, connect() as slow:
        stop = threading.Event()
        received = []

        def read() -> None:
            while not stop.wait(0.02):
                received.append(len(slow.recv(8192)))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            eventually(lambda: "its client read nothing" in api.log_file.read_text())
            count = len(received)
            eventually(lambda: len(received) > count + 10)
        finally:
            stop.set()
            reader.join()
        assert all(received)
        unread.close()
