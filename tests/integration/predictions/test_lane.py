"""Requests are answered by warm sessions, whatever happens to one of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app.contracts.resources.graph_names import GRAPH_VERSION
from app.contracts.wire.predictions import Question, Reply, SessionOrder
from app.db.clock import LeaseClock
from app.db.rows import DEFAULT_PROJECT, PredictionRow
from app.queue.predictions import answering, asking, owners
from app.queue.predictions.records import Answered, ClaimedPrediction, NewPrediction
from tests.integration.predictions.conftest import PredictionHarness
from tests.integration.worker.harness import eventually, lives
from workers.runtime.disk.inputs import InputCache
from workers.runtime.predictions import session
from workers.runtime.predictions.orders import session_order

ANSWERED = Answered(Reply(status=200), b"{}")


@asynccontextmanager
async def supervising(harness: PredictionHarness, **options: Any) -> AsyncIterator[None]:
    supervisor = harness.supervisor(**options)
    running = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        supervisor.drain(now=True)
        await running


async def rows(harness: PredictionHarness) -> int:
    async with harness.database.read() as session:
        return await session.scalar(select(func.count()).select_from(PredictionRow)) or 0


async def served(harness: PredictionHarness) -> bool:
    async with harness.database.read() as session:
        return await owners.is_served(session)


async def test_one_sandboxed_process_answers_all_requests_of_a_model(harness: PredictionHarness) -> None:
    model, other = await harness.model(), await harness.model("other")
    assert not await served(harness)
    async with supervising(harness):
        found = [await harness.answered(model) for _ in range(3)]
        assert await served(harness)
        assert {each["pid"] for each in found} == {found[0]["pid"]}
        assert {"few_files", "no_network", "limits"} <= set(found[0]["in_force"])
        assert (await harness.answered(other))["pid"] != found[0]["pid"]
        together = await harness.ask(model, *["answer"] * 64)
        assert [each.reply.status for each in together] == [200] * 64
    assert not await served(harness)
    assert not lives(found[0]["pid"])
    assert list(harness.paths.sessions.iterdir()) == []
    await eventually(lambda: none_left(harness))


async def has_rows(harness: PredictionHarness, count: int) -> bool:
    return await rows(harness) == count


async def none_left(harness: PredictionHarness) -> bool:
    return await rows(harness) == 0


async def test_only_the_request_of_which_a_process_dies_or_hangs_fails(small: PredictionHarness) -> None:
    model = await small.model()
    async with supervising(small, answer_seconds=2.0):
        before = await small.answered(model)
        died, after = await small.ask(model, "die", "answer")
        assert (died.reply.status, died.reply.code) == (503, "prediction_failed")
        assert "send the request again, and with fewer rows if that happens again" in (died.reply.detail or "")
        assert after.reply.status == 200
        hung, after, lied, last = await small.ask(model, "hang", "answer", "lie", "answer")
        assert (hung.reply.status, hung.reply.code) == (503, "prediction_timeout")
        assert after.reply.status == 200
        assert (lied.reply.status, lied.reply.code) == (503, "prediction_failed")
        assert last.reply.status == 200
        assert not lives(before["pid"])


async def test_a_session_that_is_stopped_is_replaced_and_its_request_is_answered(
    small: PredictionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it has a request, and while it has none."""
    monkeypatch.setattr(session, "SILENT_SECONDS", 3.0)
    model = await small.model()
    small.lease(2.0)  # maintained every half second
    async with supervising(small):
        pids = [(await small.answered(model))["pid"]]
        os.kill(pids[0], signal.SIGSTOP)
        pids.append((await small.answered(model))["pid"])
        os.kill(pids[1], signal.SIGSTOP)

        async def ended() -> bool:
            return not lives(pids[1])

        await eventually(ended)
        pids.append((await small.answered(model))["pid"])
    assert len(set(pids)) == 3


async def test_a_model_that_cannot_be_loaded_or_was_deleted_says_so(small: PredictionHarness) -> None:
    unloadable, gone = await small.model("unloadable"), "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
    async with supervising(small):
        (found,) = await small.ask(unloadable, "answer")
        assert (found.reply.status, found.reply.code) == (409, "export_mismatch")
        (found,) = await small.ask(gone, "answer")
        assert (found.reply.status, found.reply.code) == (404, "unknown_model")
        assert list(small.paths.sessions.glob("*/*")) == []


async def test_few_sessions_are_kept_and_none_is_idle_for_long(small: PredictionHarness) -> None:
    small.settings = small.settings.model_copy(update={"prediction_sessions": 1, "prediction_idle_seconds": 0.0})
    first, second = await small.model(), await small.model("second")
    small.lease(2.0)  # maintained every half second
    async with supervising(small):
        slow, other = await asyncio.gather(small.ask(first, "slow"), small.answered(second))
        assert slow[0].reply.status == 200
        pid = (await small.answered(first))["pid"]
        assert not lives(other["pid"])

        async def ended() -> bool:
            return not lives(pid)

        await eventually(ended)
        assert (await small.answered(first))["pid"] != pid


async def test_a_model_that_is_asked_all_the_time_does_not_keep_others_out(small: PredictionHarness) -> None:
    small.settings = small.settings.model_copy(update={"prediction_sessions": 1})
    busy, others = await small.model(), [await small.model(name) for name in ("second", "third")]
    stop = asyncio.Event()

    async def ask_on() -> None:
        while not stop.is_set():
            assert [each.reply.status for each in await small.ask(busy, "slow")] == [200]

    async with supervising(small):
        await small.answered(busy)
        asking_on = [asyncio.create_task(ask_on()) for _ in range(2)]
        await claimed(small)
        try:
            await asyncio.gather(*(small.answered(other) for other in others))
        finally:
            stop.set()
            await asyncio.gather(*asking_on)


@pytest.mark.parametrize("version", [1, 2])
async def test_weights_are_downloaded_where_the_exported_graph_does_not_answer_alone(
    version: int, small: PredictionHarness
) -> None:
    """One of an earlier version is exported anew, and a teacher answers as in a job."""
    graph = f'… {{"outputs":{{}},"version":{version}}}'.encode()
    model, student = await small.model(graph=graph), await small.model("other")
    cache = InputCache(small.paths, small.store)
    order = await session_order(small.database, cache, Question(model=model, format="csv"), 1)
    assert isinstance(order, SessionOrder)
    assert order.graph == str(order.inputs()[-1])
    read = [path.read_bytes() for path in order.inputs()]
    assert read == ([graph] if version == GRAPH_VERSION else [b"weights of student", graph])
    assert sorted(path.read_bytes() for path in small.paths.inputs.iterdir() if path.is_file()) == sorted(read)
    order = await session_order(small.database, cache, Question(model=model, format="csv", rows_of=student), 1)
    assert isinstance(order, SessionOrder)
    assert [path.read_bytes() for path in order.inputs()] == [b"weights of student"]


async def test_a_request_of_a_killed_worker_is_answered_by_another(small: PredictionHarness) -> None:
    model = await small.model()
    worker = small.predicting()
    pid = (await small.answered(model))["pid"]
    asked = asyncio.create_task(small.ask(model, "hang"))
    await claimed(small)
    worker.end()
    await eventually(lambda: dead(pid))
    async with small.database.write() as session:  # the next one is not to hang
        await session.execute(update(PredictionRow).values(body=b"answer"))
    small.predicting()
    (found,) = await asked
    assert found.reply.status == 200


async def claimed(harness: PredictionHarness) -> None:
    """Wait until a worker has a request that it has not answered."""
    query = select(PredictionRow.id).where(PredictionRow.claimed_by.is_not(None), PredictionRow.reply.is_(None))

    async def look() -> bool:
        async with harness.database.read() as session:
            return await session.scalar(query.limit(1)) is not None

    await eventually(look)


async def dead(pid: int) -> bool:
    return not lives(pid)


async def test_a_request_of_which_two_workers_die_ends_with_an_error(harness: PredictionHarness) -> None:
    model = await harness.model()
    asked = asyncio.create_task(harness.ask(model, "answer"))

    async def claimed_by(owner: str) -> bool:
        return bool(await answering.claim(harness.database, owner, 5))

    for number in range(owners.MOST_ATTEMPTS):
        await owners.renew(harness.database, f"mortal-{number}", 30.0)
        await eventually(partial(claimed_by, f"mortal-{number}"))
        await owners.renew(harness.database, f"mortal-{number}", -1.0)
        await owners.sweep(harness.database)
    (found,) = await asked
    assert (found.reply.status, found.reply.code) == (503, "prediction_lost")


async def test_questions_about_the_same_rows_store_them_once_until_the_last_is_answered(
    harness: PredictionHarness,
) -> None:
    """Those of a student and its teachers, of which one is answered before another is claimed."""
    model = await harness.model()
    questions = [Question(model=model, format=fmt) for fmt in ("csv", "jsonl", "npz")]
    body = b"rows" * 1000
    asked = asyncio.create_task(harness.exchange.ask_of(DEFAULT_PROJECT, questions, body))
    found: list[tuple[str, bytes]] = []

    async def answer_one() -> bool:
        for each in await answering.claim(harness.database, "worker", 1):
            found.append((each.question.format, each.body))
            await answering.answer(harness.database, "worker", [(each, ANSWERED)])
        return bool(found)

    await eventually(answer_one)
    async with harness.database.read() as session:
        assert await session.scalar(select(func.sum(func.length(PredictionRow.body)))) == len(body)
    await asyncio.sleep(0.2)  # the exchange reads the answer, and would delete it with what is inserted next
    other = NewPrediction(DEFAULT_PROJECT, Question(model=model, format="json"), b"others")
    asked_next = asyncio.create_task(harness.exchange.ask([other]))
    await eventually(lambda: has_rows(harness, 4))
    while len(found) < 4:
        await answer_one()
    assert found == [*((each.format, body) for each in questions), ("json", b"others")]
    assert [each.body for each in await asked if each] == [b"{}"] * 3
    await asked_next
    await eventually(lambda: none_left(harness))


async def test_a_request_that_drained_workers_hand_back_is_not_lost(harness: PredictionHarness) -> None:
    """A rolling restart is no death, however often it comes."""
    model = await harness.model()
    asked = asyncio.create_task(harness.ask(model, "answer"))
    for number in range(owners.MOST_ATTEMPTS + 1):
        await owners.renew(harness.database, f"drained-{number}", 30.0)
        given = await eventually(partial(answering.claim, harness.database, f"drained-{number}", 5))
        if number == owners.MOST_ATTEMPTS:
            await answering.answer(harness.database, f"drained-{number}", [(given[0], ANSWERED)])
        await owners.leave(harness.database, f"drained-{number}")
    (found,) = await asked
    assert found.reply.status == 200


async def test_a_request_that_cannot_be_read_fails_alone(harness: PredictionHarness) -> None:
    """An API of another version has written it."""
    model = await harness.model()
    asked = asyncio.create_task(harness.ask(model, "answer", "answer"))
    await eventually(lambda: has_rows(harness, 2))
    async with harness.database.write() as session:
        first = select(func.min(PredictionRow.id)).scalar_subquery()
        await session.execute(update(PredictionRow).where(PredictionRow.id == first).values(question={"model": [1]}))
    (readable,) = await answering.claim(harness.database, "worker", 5)
    await answering.answer(harness.database, "worker", [(readable, ANSWERED)])
    unread, answered = await asked
    assert (unread.reply.status, unread.reply.code) == (503, "prediction_failed")
    assert answered.reply.status == 200


async def test_no_request_waits_for_the_poll_where_others_took_all_of_the_room(
    harness: PredictionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has one, has room for one of two more, and answers the first while it claims."""
    monkeypatch.setattr("workers.runtime.predictions.lane.MOST_CLAIMED", 2)
    monkeypatch.setattr("workers.runtime.predictions.lane.POLL_SECONDS", 60.0)
    model, claim = await harness.model(), answering.claim

    async def late(*given: Any) -> list[ClaimedPrediction]:
        found = await claim(*given)
        if [each.body for each in found] == [b"second"]:
            await first
        return found

    monkeypatch.setattr(answering, "claim", late)
    async with supervising(harness):
        await harness.answered(model)
        harness.exchange.seconds = 8.0
        first = asyncio.create_task(harness.ask(model, "slow"))
        await claimed(harness)
        assert [each.reply.status for each in await harness.ask(model, "second", "third")] == [200, 200]


async def test_a_stopped_worker_loses_its_requests_with_its_lease(small: PredictionHarness) -> None:
    model = await small.model()
    small.lease(2.0)
    small.exchange.seconds = 90.0  # the other worker only begins to start
    worker = small.predicting()
    await small.answered(model)
    await worker.stop()
    asked = asyncio.create_task(small.ask(model, "answer"))
    small.predicting()
    (found,) = await asked
    assert found.reply.status == 200
    await eventually(lambda: only_one_owner(small))


async def only_one_owner(harness: PredictionHarness) -> bool:
    return len(await owners.owners(harness.database)) == 1


async def test_a_drained_worker_answers_what_it_has(small: PredictionHarness) -> None:
    model = await small.model()
    supervisor = small.supervisor()
    running = asyncio.create_task(supervisor.run())
    asked = asyncio.create_task(small.ask(model, "slow"))
    await claimed(small)
    supervisor.drain()
    (found,) = await asked
    assert found.reply.status == 200
    await running
    assert not await served(small)


async def test_no_row_outlives_its_deadline_for_long(harness: PredictionHarness, tmp_path: Path) -> None:
    """Nobody answers, or the asker died."""
    model = await harness.model()
    harness.exchange.seconds = 0.3
    question = NewPrediction(DEFAULT_PROJECT, Question(model=model, format="csv"), b"answer")
    assert await harness.exchange.ask([question]) == [None]
    await eventually(lambda: none_left(harness))
    async with harness.database.write() as session:
        await asking.insert(session, "dead", {"prd_1": question, "prd_2": question}, 30.0)
    async with harness.database.write() as session:
        late = update(PredictionRow).where(PredictionRow.id == "prd_1")
        await session.execute(late.values(deadline=LeaseClock() - 60.0))
    await owners.sweep(harness.database)
    assert await rows(harness) == 1
