"""A load generator in a process of its own: the same request again and again over connections that stay open.

python -m tests.benchmarks.requests.load PORT CONNECTIONS SECONDS < REQUEST      prints one JSON object
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Answers:
    """What came back within the time."""

    seconds: float
    latencies: tuple[float, ...]
    """Seconds of each answer."""
    statuses: dict[str, int]
    """How often each status was answered."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which this share (0 to 1) of the requests was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(method: str, path: str, key: str = "", body: bytes = b"") -> bytes:
    """An HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def load(port: int, data: bytes, *, connections: int, seconds: float) -> Answers:
    """The answers to this request, sent by another process over so many connections at once."""
    command = [sys.executable, "-m", "tests.benchmarks.requests.load", str(port), str(connections), str(seconds)]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return Answers(**json.loads(done.stdout))


class _Client(asyncio.Protocol):
    """One connection: the next request follows each answer until the time is over."""

    def __init__(self, data: bytes, until: float, latencies: list[float], statuses: Counter[str]) -> None:
        self._data, self._until, self._latencies, self._statuses = data, until, latencies, statuses
        self._transport: asyncio.Transport
        self._answer = b""
        self._whole = 0
        self._began = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._answer, self._whole, self._began = b"", 0, time.perf_counter()
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._whole and (head := self._answer.find(b"\r\n\r\n")) >= 0:
            place = self._answer.index(b"content-length: ") + 16
            self._whole = head + 4 + int(self._answer[place : self._answer.index(b"\r\n", place)])
        if not self._whole or len(self._answer) < self._whole:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        self._statuses[self._answer[9:12].decode()] += 1
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)


async def _all(port: int, connections: int, seconds: float, data: bytes) -> None:
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    client = partial(_Client, data, began + seconds, latencies, statuses)
    opened = [await loop.create_connection(client, "127.0.0.1", port) for _ in range(connections)]
    await asyncio.gather(*(each.ended for _, each in opened))
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "latencies": latencies, "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(_all(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.stdin.buffer.read()))
