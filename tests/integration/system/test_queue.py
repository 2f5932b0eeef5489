"""`/v1/queue`, `/v1/system`, `/v1/names`: what the service is doing, for those who watch it."""

from datetime import timedelta

from sqlalchemy import update

from app.contracts.wire.workers import Device, Disk, WorkerFacts
from app.db.clock import utcnow
from app.db.rows import WorkerRow
from app.queue.workers import presence
from app.retention.policy import collect
from tests.integration.api.harness import ApiHarness


def facts(**changes: object) -> WorkerFacts:
    given = {
        "host": "one",
        "version": "1",
        "python": "3",
        "lanes": ("inspect", "train"),
        "slots": {"inspect": 2, "train": 1},
        "devices": (Device(name="cpu", description="a processor", memory_bytes=1 << 30),),
        "disk": Disk(total_bytes=10, free_bytes=5),
        "packages": {"torch": "2"},
        "started_at": utcnow(),
    }
    return WorkerFacts.model_validate(given | changes)


async def test_the_queue_counts_jobs_by_lane(any_harness: ApiHarness) -> None:
    spec = await any_harness.train_spec()
    first, second, third = [await any_harness.submit(spec) for _ in range(3)]
    await any_harness.http.post(f"/v1/jobs/{second['id']}/pause")
    await any_harness.begin()
    found = await any_harness.get("/v1/queue")
    assert found["lanes"]["train"] == {
        "queued": 1,
        "running": 1,
        "paused": 1,
        "oldest_queued_at": third["created_at"],
    }, "the first began, the second is paused"
    assert first["id"] < third["id"]
    assert found["lanes"]["inspect"] == {"queued": 0, "running": 0, "paused": 0, "oldest_queued_at": None}


async def test_a_worker_says_what_it_is_and_which_slots_are_busy(any_harness: ApiHarness) -> None:
    await presence.renew(any_harness.services.database, "stand-in", facts(), 60.0)
    await any_harness.submit()
    await any_harness.begin()
    (worker,) = (await any_harness.get("/v1/queue"))["workers"]
    assert worker["id"] == "stand-in"
    assert worker["alive"]
    assert worker["busy"] == {"inspect": {"total": 2, "busy": 0}, "train": {"total": 1, "busy": 1}}
    assert worker["devices"] == [{"name": "cpu", "description": "a processor", "memory_bytes": 1 << 30}]


async def test_a_worker_that_stops_renewing_is_shown_as_gone_for_a_day(any_harness: ApiHarness) -> None:
    database = any_harness.services.database
    await presence.renew(database, "stand-in", facts(), -1.0)
    (worker,) = (await any_harness.get("/v1/queue"))["workers"]
    assert not worker["alive"]
    async with database.write() as session:
        await session.execute(update(WorkerRow).values(seen_at=utcnow() - timedelta(days=2)))
    await collect(any_harness.services)
    assert (await any_harness.get("/v1/queue"))["workers"] == []


async def test_a_worker_that_renews_is_one_worker_and_one_that_ends_is_none(any_harness: ApiHarness) -> None:
    database = any_harness.services.database
    for free in (5, 4):
        await presence.renew(database, "stand-in", facts(disk=Disk(total_bytes=10, free_bytes=free)), 60.0)
    (worker,) = (await any_harness.get("/v1/queue"))["workers"]
    assert worker["disk"] == {"total_bytes": 10, "free_bytes": 4}
    await presence.leave(database, "stand-in")
    assert (await any_harness.get("/v1/queue"))["workers"] == []


async def test_the_system_names_versions_and_limits_and_no_secret(any_harness: ApiHarness) -> None:
    found = await any_harness.get("/v1/system")
    kind = found["database"]["kind"]
    assert any_harness.services.settings.database.startswith(kind)
    assert found["database"]["version"][0].isdigit()
    assert found["store"] == "file"
    assert 0 < found["disk"]["free_bytes"] <= found["disk"]["total_bytes"]
    assert found["limits"]["session_hours"] == 12.0
    assert set(found["packages"]) == {"fastapi", "uvicorn", "pydantic", "sqlalchemy"}
    assert str(any_harness.services.settings.data_dir) not in str(found)
    assert any_harness.services.settings.database not in str(found)


async def test_names_are_those_of_the_ids_that_exist(any_harness: ApiHarness) -> None:
    model, dataset = await any_harness.ready_model(), await any_harness.ready_dataset()
    job = await any_harness.submit({"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [3]}})
    ids = [model, dataset, job["id"], "mdl_none", "nonsense"]
    answer = await any_harness.http.get("/v1/names", params={"id": ids})
    assert answer.json()["data"] == {
        model: {"name": "teacher", "state": "ready"},
        dataset: {"name": "digits", "state": "ready"},
        job["id"]: {"name": None, "state": "queued"},
    }


async def test_names_are_asked_for_by_at_least_one_id_and_at_most_two_hundred(harness: ApiHarness) -> None:
    for ids in ([], ["mdl_x"] * 201):
        answer = await harness.http.get("/v1/names", params={"id": ids})
        assert answer.status_code == 400, answer.text
