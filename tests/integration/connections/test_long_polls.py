"""Long polls whose clients go before their time."""

import asyncio

import httpx
import pytest
from sqlalchemy import func, select

from app.contracts.wire.orders import InspectionOutcome
from app.db.rows import PredictionRow
from app.queue.predictions import owners
from tests.integration.api.harness import MODEL_FACTS, ApiHarness
from tests.integration.connections.conftest import SOON, Service, Serving
from tests.integration.worker.harness import eventually


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


async def test_a_prediction_whose_client_is_gone_is_asked_for_no_longer(serving: Serving) -> None:
    """A worker that answers predictions lives, and is busy."""
    async with serving() as service:
        model = (await service.upload("models"))["id"]
        await service.inspect(InspectionOutcome(model=MODEL_FACTS))
        await owners.renew(service.services.database, "busy", 60.0)
        rows = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}
        gone = asyncio.create_task(service.http.post(f"/v1/models/{model}/predict", json=rows, timeout=1.0))
        await eventually(lambda: questions(service, 1))
        with pytest.raises(httpx.ReadTimeout):
            await gone
        await eventually(lambda: questions(service, 0))
        assert (await service.http.get("/healthz")).status_code == 200


async def questions(service: Service, count: int) -> bool:
    """Whether so many wait for a worker."""
    async with service.services.database.read() as session:
        return await session.scalar(select(func.count()).select_from(PredictionRow)) == count


async def still_answered(service: Service, job: str) -> None:
    """Those who stay get their answers, and their connections are used on."""
    polls = [asyncio.create_task(service.http.get(f"/v1/jobs/{job}?wait=60")) for _ in range(3)]
    await waits(service, 3)
    assert (await service.http.post(f"/v1/jobs/{job}/cancel")).status_code == 200
    assert [(await each).json()["state"] for each in polls] == ["cancelled"] * 3
    assert (await service.http.get(f"/v1/jobs/{job}?wait=60")).json()["state"] == "cancelled"
    await waits(service, 0)
