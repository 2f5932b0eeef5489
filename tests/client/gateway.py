"""A reverse proxy, as platforms put before a service: below a prefix of the path, with or without TLS."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

_OF_A_CONNECTION: Final = (b"connection", b"keep-alive", b"transfer-encoding")


class Gateway:
    """Serves what the service at `target` serves, below `prefix` and with the certificate of `files` (certificate and
    key, as PEM) until the end of the `with` block.
    """

    def __init__(self, target: str, prefix: str = "", files: tuple[str, str] | None = None) -> None:
        self._target = target
        self._prefix = prefix
        self._scheme = "http" if files is None else "https"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"{self._scheme}://{self.host}{prefix}"
        certificate, key = (None, None) if files is None else files
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            log_config=None,  # else it takes over the loggers of this process
            log_level="critical",
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        within = path.startswith(self._prefix.encode() + b"/")
        if not within:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"no such service"})
            return
        query: bytes = scope["query_string"]
        target = self._target + path[len(self._prefix) :].decode() + (f"?{query.decode()}" if query else "")
        headers = [each for each in scope["headers"] if each[0] not in _OF_A_CONNECTION]
        headers.append((b"x-forwarded-proto", self._scheme.encode()))
        body = None if scope["method"] in ("GET", "HEAD") else _body(receive)
        async with (
            httpx.AsyncClient(timeout=None) as http,
            http.stream(scope["method"], target, headers=headers, content=body) as answer,
        ):
            kept = [each for each in answer.headers.raw if each[0].lower() not in _OF_A_CONNECTION]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)
