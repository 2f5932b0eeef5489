"""Requests that are refused before their bodies have arrived."""

import asyncio

import pytest

from tests.integration.connections.conftest import SOON, Client, Serving

POST = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n"
PIECES = 8
HEADER_SECONDS = 1.0


async def answer(client: Client) -> bytes:
    """One answer, which ends with a problem document or is that of `/healthz`."""
    received = b""
    while not received.endswith(b"}"):
        piece = await client.read()
        assert piece, f"the connection ended after {received!r}"
        received += piece
    return received


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"], ids=["kept", "closed"])
async def test_a_body_that_does_not_end_after_its_refusal_is_cut_after_the_time_of_a_body(
    serving: Serving, header: str
) -> None:
    clock = asyncio.get_running_loop().time
    async with serving(header_seconds=HEADER_SECONDS, body_seconds=2.0) as service, service.client() as client:
        began = clock()
        await client.send(POST.format(10**9, header).encode())
        assert (await answer(client)).startswith(b"HTTP/1.1 401 ")
        async with asyncio.timeout(SOON):
            with pytest.raises(ConnectionError):
                while True:
                    await client.send(b" ")
                    await asyncio.sleep(0.05)
        assert clock() - began > 2.0


@pytest.mark.parametrize(("size", "status", "code"), [(800, 401, "key_needed"), (4_000_000, 413, "body_too_large")])
async def test_a_client_that_reads_only_after_sending_gets_the_reason_and_its_connection_is_used_on(
    serving: Serving, size: int, status: int, code: str
) -> None:
    async with serving(header_seconds=HEADER_SECONDS, keep_alive_seconds=1, body_seconds=60) as service:
        key = f"Authorization: Bearer {service.key}\r\n" if status != 401 else ""
        async with service.client(POST.format(size, key).encode()) as client:
            for number in range(PIECES):
                await asyncio.sleep(1.6 if number == 1 else 0.2)  # once beyond keep-alive
                await client.send(b" " * (size // PIECES))
            refusal = await answer(client)
            assert refusal.startswith(f"HTTP/1.1 {status} ".encode())
            assert f'"code":"{code}"'.encode() in refusal
            await client.send(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await answer(client)).startswith(b"HTTP/1.1 200 ")
            assert await client.read() == b"", "it is closed as any idle connection, without another answer"


async def test_a_client_that_closes_after_the_answer_gets_it_too_and_then_the_end(serving: Serving) -> None:
    async with (
        serving(header_seconds=HEADER_SECONDS, keep_alive_seconds=1, body_seconds=60) as service,
        service.client(POST.format(4_000_000, "Connection: close\r\n").encode()) as client,
    ):
        for _ in range(PIECES):
            await asyncio.sleep(0.2)
            await client.send(b" " * 500_000)
        assert (await answer(client)).startswith(b"HTTP/1.1 401 ")
        assert await client.read() == b"", "the answer is over, which a client may wait for"
        client.socket.close()
        async with asyncio.timeout(SOON):
            while service.open_connections:  # noqa: ASYNC110 (the server closes them)
                await asyncio.sleep(0.01)


async def test_a_connection_is_closed_without_another_answer_where_nothing_follows_a_refused_body(
    serving: Serving,
) -> None:
    settings = {"header_seconds": HEADER_SECONDS, "keep_alive_seconds": 1, "body_seconds": 60}
    async with serving(**settings) as service, service.client(POST.format(10, "").encode()) as client:
        assert (await answer(client)).startswith(b"HTTP/1.1 401 ")
        await client.send(b" " * 10)
        assert await client.read() == b""
