"""The client for asyncio does what the other one does."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from stillhouse import (
    AsyncClient,
    AsyncDataset,
    AsyncJob,
    AsyncModel,
    Client,
    ConnectionFailed,
    Dataset,
    Job,
    JobCancelled,
    JobFailed,
    Model,
    NotFound,
    Rejected,
)
from stillhouse.aio.datasets import AsyncDatasets
from stillhouse.aio.jobs import AsyncJobs
from stillhouse.aio.models import AsyncModels
from stillhouse.sync.datasets import Datasets
from stillhouse.sync.jobs import Jobs
from stillhouse.sync.models import Models

from tests.client.conftest import LONG, NETWORK, SHORT, clouds
from tests.client.proxy import Proxy
from tests.demo.service import Service, free_port

TWINS = [
    (Client, AsyncClient),
    (Dataset, AsyncDataset),
    (Datasets, AsyncDatasets),
    (Job, AsyncJob),
    (Jobs, AsyncJobs),
    (Model, AsyncModel),
    (Models, AsyncModels),
]


@pytest.fixture
async def far(service: Service) -> AsyncIterator[tuple[AsyncClient, Proxy]]:
    with Proxy(service.url) as proxy:
        async with AsyncClient(proxy.url, service.key) as client:
            yield client, proxy


def public(kind: type) -> dict[str, Callable[..., Any]]:
    """The methods that callers use, by name; of a property the function that reads it."""
    found = {name: getattr(each, "fget", each) for name, each in vars(kind).items() if not name.startswith("_")}
    return {name: each for name, each in found.items() if inspect.isfunction(each)}


@pytest.mark.parametrize(("blocking", "awaited"), TWINS, ids=lambda kind: kind.__name__)
def test_both_clients_have_the_same_methods_with_the_same_arguments(blocking: type, awaited: type) -> None:
    one, other = public(blocking) | {"made": blocking}, public(awaited) | {"made": awaited}
    assert one.keys() == other.keys()
    for name in one:
        first, second = inspect.signature(one[name]).parameters, inspect.signature(other[name]).parameters
        assert {key: each.replace(annotation=None) for key, each in first.items()} == {
            key: each.replace(annotation=None) for key, each in second.items()
        }, name


async def test_a_whole_job(far: tuple[AsyncClient, Proxy], tmp_path: Path) -> None:
    client, _ = far
    assert "key" not in repr(client)
    await client.check()
    dataset = await client.datasets.upload(clouds(seed=1), name="awaited", progress=False)
    job = await client.jobs.train(dataset, NETWORK, training=SHORT)
    seen = [event.seq async for event in job.events()]
    assert seen == list(range(1, len(seen) + 1))
    await job.wait(progress=True)
    report = await job.report()
    assert report.student["tasks"]["kind"]["accuracy"] > 0.9
    assert "<svg" in await job.report_as("html")
    assert (await job.metrics(series="train/loss"))["step"]
    student = await job.student()
    path = await student.download(tmp_path)
    assert path.stat().st_size == student.files[0]["bytes"]
    rows = clouds(seed=1)["x"][:3]
    assert (await student.predict({"x": rows}))["kind"]["class"].tolist() == [0, 1, 2]
    assert (await student.load_onnx()).get_inputs()[0].name == "x"
    assert job in [each async for each in client.jobs.list(kind="train", limit=5)]
    assert student in [each async for each in client.models.list(limit=1)]


async def test_errors_are_those_of_the_other_client(far: tuple[AsyncClient, Proxy]) -> None:
    client, _ = far
    with pytest.raises(NotFound):
        await client.models.get("mdl_none")
    with pytest.raises(Rejected):
        await client.datasets.upload(clouds(), targets={"kind": {"kind": "class", "classes": 2}})
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", "key", retries=0) as nowhere:
        with pytest.raises(ConnectionFailed):
            await nowhere.check()


async def test_waits_and_events_survive_connections_that_are_cut_and_can_be_cancelled(
    far: tuple[AsyncClient, Proxy], dataset: Dataset
) -> None:
    client, proxy = far
    job = await client.jobs.train(dataset.id, NETWORK, training=LONG)
    seen: list[int] = []

    async def follow() -> None:
        seen.extend([event.seq async for event in job.events()])

    following, given_up = asyncio.create_task(follow()), asyncio.create_task(job.wait())
    while proxy.cuts < 2:
        await asyncio.to_thread(proxy.wait_for_answers, proxy.answers + 1)
        proxy.cut()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert not (await job.refresh()).ended
    await job.cancel()
    with pytest.raises(JobCancelled) as cancelled:
        await job.wait()
    assert isinstance(cancelled.value, JobFailed)
    await following
    assert seen == list(range(1, len(seen) + 1))
