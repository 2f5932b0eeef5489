"""Long polls whose clients go before their time."""

import asyncio

import httpx
import pytest

from tests.integration.api.harness import ApiHarness
from tests.integration.connections.conftest import SOON, Service, Serving


async def waits(harness: ApiHarness, count: int) -> None:
    """Until so many long polls and streams are open."""
    async with asyncio.timeout(SOON):
        while sum(harness.services.open_waits.values()) != count:  # noqa: ASYNC110 (the requests change it)
            await asyncio.sleep(0.005)


async def test_long_polls_whose_clients_are_gone_give_their_places_back(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(waits_per_key=3) as service:
        job, model = (await service.submit())["id"], (await service.upload("models"))["id"]
        for path in (f"/v1/jobs/{job}?wait=60", f"/v1/models/{model}?wait=60"):
            for _ in range(2):
                gone = [asyncio.create_task(service.http.get(path, timeout=0.1)) for _ in range(3)]
                ended = await asyncio.gather(*gone, return_exceptions=True)
                assert {type(each) for each in ended} == {httpx.ReadTimeout}
                await waits(service, 0)
        await still_answered(service, job)
    assert not [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")]


async def still_answered(service: Service, job: str) -> None:
    """Those who stay get their answers, and their connections are used on."""
    polls = [asyncio.create_task(service.http.get(f"/v1/jobs/{job}?wait=60")) for _ in range(3)]
    await waits(service, 3)
    assert (await service.http.post(f"/v1/jobs/{job}/cancel")).status_code == 200
    assert [(await each).json()["state"] for each in polls] == ["cancelled"] * 3
    assert (await service.http.get(f"/v1/jobs/{job}?wait=60")).json()["state"] == "cancelled"
    await waits(service, 0)
