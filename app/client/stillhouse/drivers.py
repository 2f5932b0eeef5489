"""The two drivers of flows: one that blocks, one for asyncio. They differ in `await`, and decide nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any, TypeVar, assert_never

import httpx
from httpx_sse import EventSource

from stillhouse.errors import ConnectionFailed
from stillhouse.flows.steps import Body, Call, Close, Emit, Flow, Next, Open, Running, Send, Sleep, Step, Stream
from stillhouse.settings import Login

T = TypeVar("T")
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)


def _settings(login: Login, timeout: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {login.key}", "User-Agent": "stillhouse-python"}
    return {"base_url": login.url, "headers": headers, "timeout": timeout, "follow_redirects": True}


@contextmanager
def _usable_environment() -> Iterator[None]:
    """Around the making of a client, which reads the proxies and certificates of the environment."""
    try:
        yield
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise ConnectionFailed(
            f"expected proxies and certificates that can be used, found: {error}: correct or unset HTTP_PROXY, "
            "HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


def _body(body: Body | None) -> Mapping[str, Any]:
    if body is None:
        return {}
    if body.manifest is not None:
        parts: list[tuple[str, Any]] = [("manifest", (None, body.manifest, "application/json"))]
        parts += [("file", (name, file, "application/octet-stream")) for name, file in body.files]
        return {"files": parts}
    return {"json": body.json} if body.content is None else {"content": body.content}


def _request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    own = http.timeout
    read = None if own.read is None else own.read + call.patience
    timeout = httpx.Timeout(connect=own.connect, read=read, write=own.write, pool=own.pool)
    return http.build_request(
        call.method, call.path, params=call.params or None, headers=call.headers, timeout=timeout, **_body(call.body)
    )


class SyncDriver:
    """Drives flows in the calling thread."""

    def __init__(self, login: Login, timeout: float) -> None:
        with _usable_environment():
            self.http = httpx.Client(**_settings(login, timeout))

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end, and return its result."""
        running = Running(flow)
        for _ in self._through(running):
            pass
        result: T = running.result
        return result

    def iterate(self, flow: Flow[None]) -> Iterator[Any]:
        """What the flow emits."""
        return self._through(Running(flow))

    def _through(self, running: Running) -> Iterator[Any]:
        with ExitStack() as opened:
            while (step := running.step()) is not None:
                if isinstance(step, Emit):
                    yield step.item
                    continue
                try:
                    running.reply = self._take(step, opened)
                except _ERRORS as error:
                    running.error = error

    def _take(self, step: Step, opened: ExitStack) -> Any:
        match step:
            case Send(call):
                return self.http.send(_request(self.http, call))
            case Open(call, pieces):
                response = self.http.send(_request(self.http, call), stream=True)
                opened.callback(response.close)
                if response.is_error:
                    response.read()
                    return Stream(response, None)
                return Stream(response, response.iter_raw() if pieces == "bytes" else EventSource(response).iter_sse())
            case Next(stream):
                return next(stream.items, None)
            case Close(stream):
                return stream.response.close()
            case Sleep(seconds):
                return time.sleep(seconds)
            case Emit():
                return None
            case _:
                assert_never(step)


class AsyncDriver:
    """Drives flows in an event loop."""

    def __init__(self, login: Login, timeout: float) -> None:
        with _usable_environment():
            self.http = httpx.AsyncClient(**_settings(login, timeout))

    async def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end, and return its result."""
        running = Running(flow)
        async for _ in self._through(running):
            pass
        result: T = running.result
        return result

    def iterate(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """What the flow emits."""
        return self._through(Running(flow))

    async def _through(self, running: Running) -> AsyncIterator[Any]:
        async with AsyncExitStack() as opened:
            while (step := running.step()) is not None:
                if isinstance(step, Emit):
                    yield step.item
                    continue
                try:
                    running.reply = await self._take(step, opened)
                except _ERRORS as error:
                    running.error = error

    async def _take(self, step: Step, opened: AsyncExitStack) -> Any:
        match step:
            case Send(call):
                return await self.http.send(_request(self.http, call))
            case Open(call, pieces):
                response = await self.http.send(_request(self.http, call), stream=True)
                opened.push_async_callback(response.aclose)
                if response.is_error:
                    await response.aread()
                    return Stream(response, None)
                items = response.aiter_raw() if pieces == "bytes" else EventSource(response).aiter_sse()
                return Stream(response, aiter(items))
            case Next(stream):
                return await anext(stream.items, None)
            case Close(stream):
                return await stream.response.aclose()
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Emit():
                return None
            case _:
                assert_never(step)
