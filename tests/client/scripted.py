"""A real HTTP server that gives the answers of a script, one for each request, and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """An answer; a status of 0 closes the connection without one."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def problem(status: int, code: str, **headers: str) -> Answer:
    """An error of the service."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"code": code, "detail": "expected a, found b: c", "status": status}, shown, PROBLEM)


@dataclass
class Server:
    """Where it is, and what it was asked."""

    url: str
    asked: list[Asked]


@contextmanager
def scripted(answers: Sequence[Answer]) -> Iterator[Server]:
    """Serve the answers in their order; the last one again and again."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            answer = answers[min(len(asked), len(answers) - 1)]
            length = int(self.headers.get("content-length") or 0)
            asked.append(Asked(self.command, self.path, dict(self.headers), self.rfile.read(length)))
            if not answer.status:
                self.close_connection = True
                return
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # who asked has gone
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PATCH = _answer  # noqa: N815 (names that http.server looks up)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
