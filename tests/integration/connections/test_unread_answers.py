"""Connections whose answers are complete, but not read."""

import asyncio
from contextlib import AsyncExitStack, suppress

from tests.integration.connections.conftest import SOON, Client, Service, Serving

MOST = 4
BODY_SECONDS = 1.0
REQUEST = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def status(service: Service) -> int:
    """That of a request on a connection of its own."""
    async with service.client(REQUEST % b"/v1/jobs") as client:
        return int((await client.read()).split()[1])


async def test_an_answer_that_is_read_by_the_byte_gives_way_to_others_after_the_time_of_a_body(
    serving: Serving,
) -> None:
    async with serving(send_buffer=8192, connections=MOST, connection_share=1, body_seconds=BODY_SECONDS) as service:
        document = len((await service.http.get("/openapi.json", headers={"Accept-Encoding": "identity"})).content)
        await service.http.aclose()
        async with AsyncExitStack() as stack:
            asked = [service.client(REQUEST % b"/openapi.json") for _ in range(MOST)]
            slow = [await stack.enter_async_context(each) for each in asked]
            for client in slow:
                assert (await client.read(1000)).startswith(b"HTTP/1.1 200 ")
            began = asyncio.get_running_loop().time()
            assert await status(service) == 503
            async with asyncio.timeout(SOON):
                while await status(service) == 503:
                    for client in slow:
                        await client.read(8192)
                    await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() - began > BODY_SECONDS
            assert max(len(client.received) for client in slow) < document, "no answer was read to its end"
            assert [await _is_whole(client, document) for client in slow].count(False) == 1, "one gave way"


async def _is_whole(client: Client, size: int) -> bool:
    """Whether all of the answer can still be read."""
    with suppress(ConnectionError):
        while len(client.received) < size and await client.read():
            pass
    return len(client.received) >= size
