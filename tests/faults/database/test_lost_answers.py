"""The connection to PostgreSQL is really cut between a COMMIT and its answer: what was done counts as done, once."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.contracts.states import JobState
from app.db.engine import open_database
from app.db.errors import DatabaseUnavailable
from app.db.rows import ProjectRow
from app.db.transactions import commits
from tests.faults.database.cut_connections import Cutter, cutting, now_and_then, through
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness
from tests.integration.worker.harness import WorkerHarness, eventually

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))


class Armed:
    """Whether the next commits are cut, and on which side of being done."""

    def __init__(self) -> None:
        self.after = self.before = False
        self.cutter = Cutter(lambda _: self.after, before=lambda _: self.before)


@pytest.fixture
def armed() -> Armed:
    return Armed()


@pytest.fixture
async def harness(
    migrated_postgresql_url: str, postgresql_server: str, tmp_path: Path, armed: Armed
) -> AsyncIterator[ApiHarness]:
    with cutting(postgresql_server, armed.cutter) as port:
        async with opened(through(migrated_postgresql_url, port), tmp_path / "data") as harness:
            yield harness


async def test_a_submission_whose_answer_was_lost_is_acknowledged_and_there_once(
    harness: ApiHarness, armed: Armed
) -> None:
    spec = await harness.train_spec()
    armed.after = True
    answer = await harness.http.post("/v1/jobs", json=spec)
    armed.after = False
    assert armed.cutter.cuts > 0
    assert answer.status_code == 202, answer.text
    assert [job["id"] for job in (await harness.get("/v1/jobs"))["data"]] == [answer.json()["id"]]


async def test_a_submission_that_was_cut_before_it_was_done_is_refused_and_not_there(
    harness: ApiHarness, armed: Armed
) -> None:
    spec = await harness.train_spec()
    armed.before = True
    answer = await harness.http.post("/v1/jobs", json=spec)
    armed.before = False
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await harness.get("/v1/jobs"))["data"] == []


@pytest.mark.parametrize("done", [False, True])
async def test_with_a_key_one_job_comes_of_a_submission_and_its_repetition(
    harness: ApiHarness, armed: Armed, done: bool
) -> None:
    spec, headers = await harness.train_spec(), {"Idempotency-Key": "once"}
    armed.after, armed.before = done, not done
    first = await harness.http.post("/v1/jobs", json=spec, headers=headers)
    armed.after = armed.before = False
    second = await harness.http.post("/v1/jobs", json=spec, headers=headers)
    assert first.status_code == (202 if done else 503)
    assert second.status_code == 202
    assert ("idempotency-replayed" in second.headers) is done
    assert [job["id"] for job in (await harness.get("/v1/jobs"))["data"]] == [second.json()["id"]]


async def test_an_upload_whose_answer_was_lost_is_there_once(harness: ApiHarness, armed: Armed) -> None:
    await harness.get("/v1/datasets")  # the key is marked as used
    armed.after = True
    made = await harness.upload("datasets")
    armed.after = False
    assert [dataset["id"] for dataset in (await harness.get("/v1/datasets"))["data"]] == [made["id"]]


async def test_pause_and_cancel_are_acknowledged_although_the_answer_was_lost(
    harness: ApiHarness, armed: Armed
) -> None:
    path = f"/v1/jobs/{(await harness.submit())['id']}"
    claim = await harness.begin()
    armed.after = True
    states = [(await harness.http.post(f"{path}/{action}")).json()["state"] for action in ("pause", "cancel")]
    armed.after = False
    assert states == ["pausing", "cancelling"]
    assert await harness.services.ledger.yield_(claim)


async def test_a_commit_without_evidence_does_not_count_as_done(
    migrated_postgresql_url: str, postgresql_server: str, armed: Armed
) -> None:
    with cutting(postgresql_server, armed.cutter) as port:
        database = open_database(through(migrated_postgresql_url, port))
        armed.after = True
        with pytest.raises(DatabaseUnavailable):
            async with database.write() as session:
                session.add(ProjectRow(id="prj_2", name="two"))
        armed.after = False
        await database.close()


async def test_a_database_that_stays_away_is_not_waited_for_for_ever(
    migrated_postgresql_url: str, postgresql_server: str, tmp_path: Path, armed: Armed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "RESOLVE_SECONDS", 0.5)
    headers = {"Idempotency-Key": "once"}
    with cutting(postgresql_server, armed.cutter) as port:
        async with opened(through(migrated_postgresql_url, port), tmp_path / "data") as harness:
            spec = await harness.train_spec()
            armed.after = armed.cutter.stays_away = True
            first = await harness.http.post("/v1/jobs", json=spec, headers=headers)
            armed.after = armed.cutter.stays_away = False
            assert first.status_code == 503
            again = await harness.http.post("/v1/jobs", json=spec, headers=headers)
            assert "idempotency-replayed" in again.headers


async def test_a_worker_whose_answers_are_lost_again_and_again_runs_each_job_once(
    migrated_postgresql_url: str, postgresql_server: str, tmp_path: Path
) -> None:
    cutter = now_and_then(SEED, 0.4)
    harness = WorkerHarness(migrated_postgresql_url, tmp_path / "data", lease_seconds=30.0)
    try:
        with cutting(postgresql_server, cutter) as port:
            harness.settings = harness.settings.model_copy(
                update={"database_url": through(migrated_postgresql_url, port)}
            )
            harness.process()
            jobs = [await harness.submit("work", steps=12, every=4, pause=0.02) for _ in range(3)]
            for job_id in jobs:
                job = await harness.ends(job_id)
                assert (job.state, job.attempt, job.crashes) == (JobState.SUCCEEDED, 1, 0), f"seed {SEED}: {job.error}"
                events = await harness.events(job_id)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                steps = [event.data["step"] for event in events if event.type == "checkpoint"]
                assert steps == [4, 8], f"seed {SEED}"
                assert await harness.metric_steps(job_id, "train/loss") == list(range(1, 13))
            assert cutter.cuts > 0

            async def quiet() -> bool:
                return await harness.ledger.owners() == []

            await eventually(quiet)
    finally:
        await harness.close()
