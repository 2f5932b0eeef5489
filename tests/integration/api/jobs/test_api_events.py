"""The events of a job: of some types alone, and an even sample of them."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from app.contracts.wire.events import CheckpointEvent, ProgressEvent, WarningEvent
from tests.integration.api.harness import ApiHarness

PROGRESS = 30
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def path(any_harness: ApiHarness) -> str:
    """The events of a failed job: 30 of progress, each written by itself, and a warning in their midst."""
    job = (await any_harness.submit())["id"]
    claim = await any_harness.begin()
    for step in range(1, PROGRESS + 1):
        assert await any_harness.services.ledger.record(claim, [ProgressEvent(step=step, steps=PROGRESS)])
        if step == 10:
            warning = WarningEvent(code="slow", message="slow")
            assert await any_harness.services.ledger.record(claim, [warning])
    await any_harness.fail(claim)
    return f"/v1/jobs/{job}/events"


async def data(harness: ApiHarness, path: str) -> list[dict[str, Any]]:
    """The events of a page."""
    found: list[dict[str, Any]] = (await harness.get(path))["data"]
    return found


async def test_events_of_some_types_are_those_alone_page_by_page(any_harness: ApiHarness, path: str) -> None:
    whole = await data(any_harness, path)
    wanted = [event for event in whole if event["type"] in ("state", "warning")]
    assert [event["type"] for event in wanted].count("warning") == 1
    assert await data(any_harness, f"{path}?type=state&type=warning") == wanted
    page = await any_harness.get(f"{path}?type=state&type=warning&limit=2")
    rest = await any_harness.get(f"{path}?type=state&type=warning&after={page['next']}")
    assert page["data"] + rest["data"] == wanted
    assert await data(any_harness, f"{path}?type=checkpoint") == []


async def test_a_stream_of_some_types_brings_those_alone_and_goes_on_after_an_id(
    any_harness: ApiHarness, path: str
) -> None:
    wanted = await data(any_harness, f"{path}?type=state")
    answer = await any_harness.http.get(f"{path}?type=state", headers=STREAM)
    found = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert found == wanted
    last = {"Last-Event-ID": str(wanted[-2]["seq"])}
    resumed = await any_harness.http.get(f"{path}?type=state", headers=STREAM | last)
    assert [json.loads(line[6:]) for line in resumed.text.splitlines() if line.startswith("data: ")] == wanted[-1:]
    (warning,) = await data(any_harness, f"{path}?type=warning")
    last = {"Last-Event-ID": str(warning["seq"])}
    over = await any_harness.http.get(f"{path}?type=warning", headers=STREAM | last)
    assert over.status_code == 204


async def test_a_stream_of_a_rare_type_misses_nothing_between_many_others(any_harness: ApiHarness) -> None:
    job = (await any_harness.submit())["id"]
    claim = await any_harness.begin()
    reading = asyncio.create_task(any_harness.http.get(f"/v1/jobs/{job}/events?type=checkpoint", headers=STREAM))
    for step in range(1, 13):
        assert await any_harness.services.ledger.record(claim, [ProgressEvent(step=step, steps=12)])
        if step % 4 == 0:
            checkpoint = CheckpointEvent(step=step, name=f"{step}.ckpt", sha256="0" * 64)
            assert await any_harness.services.ledger.record(claim, [checkpoint])
        await asyncio.sleep(0.01)
    await any_harness.fail(claim)
    answer = await asyncio.wait_for(reading, 20)
    found = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["data"]["step"] for event in found] == [4, 8, 12]


@pytest.mark.parametrize("most", [1, 7, PROGRESS - 1, PROGRESS, 500])
async def test_a_sample_is_even_and_has_the_newest(any_harness: ApiHarness, path: str, most: int) -> None:
    whole = await data(any_harness, f"{path}?type=progress")
    page = await any_harness.get(f"{path}?type=progress&sample={most}")
    found = page["data"]
    assert (page["has_more"], page["next"]) == (False, None)
    assert len(found) == min(most, PROGRESS)
    assert all(event in whole for event in found)
    assert found[-1] == whole[-1]
    steps = [0, *(event["data"]["step"] for event in found)]
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps) - min(gaps) <= 1


async def test_a_sample_of_all_types_and_of_a_type_that_there_is_not(any_harness: ApiHarness, path: str) -> None:
    whole = await data(any_harness, path)
    assert await data(any_harness, f"{path}?sample=200") == whole
    assert len(await data(any_harness, f"{path}?sample=10")) == 10
    assert await data(any_harness, f"{path}?type=checkpoint&sample=10") == []


@pytest.mark.parametrize("query", ["sample=0", "sample=10001", "type=progres", "sample=5&type="])
async def test_samples_have_a_size_and_types_are_known(any_harness: ApiHarness, path: str, query: str) -> None:
    answer = await any_harness.http.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


async def test_a_sample_begins_after_a_page_and_keeps_to_its_limit(any_harness: ApiHarness, path: str) -> None:
    whole = await data(any_harness, f"{path}?type=progress")
    page = await any_harness.get(f"{path}?type=progress&limit=12")
    later = await data(any_harness, f"{path}?type=progress&sample=500&after={page['next']}")
    assert later == whole[12:]
    few = await data(any_harness, f"{path}?type=progress&sample=500&limit=3&after={page['next']}")
    assert [event["data"]["step"] for event in few] == [18, 24, 30]
    assert await data(any_harness, f"{path}?type=progress&sample=3&limit=200&after={page['next']}") == few


async def test_a_type_that_there_is_not_is_named_with_those_that_there_are(harness: ApiHarness) -> None:
    job = (await harness.submit())["id"]
    answer = await harness.http.get(f"/v1/jobs/{job}/events?type=state&type=progres")
    detail = answer.json()["detail"]
    assert detail.startswith("query parameter `type`: expected 'state', 'phase', 'progress', 'checkpoint' or 'warning'")
    assert 'found "progres"' in detail


async def test_a_sample_is_no_stream(any_harness: ApiHarness, path: str) -> None:
    answer = await any_harness.http.get(f"{path}?sample=5", headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert "`sample`" in answer.json()["detail"]
