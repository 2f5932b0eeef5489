"""What `POST /v1/models/{id}/predict` refuses before a worker sees it, and what it makes of a worker's answers."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.contracts.problems import Problem, Rejection
from app.contracts.wire.orders import InspectionOutcome
from app.contracts.wire.predictions import MOST_BYTES, Reply
from app.db.clock import LeaseClock
from app.db.rows import DEFAULT_PROJECT, PredictionRow
from app.http.errors import NotFound
from app.http.services import Caller
from app.models.predictions import compare
from app.queue.predictions import answering, owners
from app.queue.predictions.budget import Budget
from app.queue.predictions.records import Answered
from tests.integration.api.conftest import opened
from tests.integration.api.harness import MODEL_FACTS, ApiHarness
from tests.integration.predictions.test_compare import GONE, job_of
from tests.integration.worker.harness import eventually

ROWS = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}
ANSWER: dict[str, Any] = {
    "rows": 1,
    "outputs": {"digit": {"class": [1], "probabilities": [[0.25, 0.75]], "logits": [[0.0, 1.1]]}},
}


@pytest.fixture
async def api(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    async with opened(migrated_sqlite_url, tmp_path / "data", prediction_seconds=1.0) as harness:
        yield harness


async def ready(api: ApiHarness) -> str:
    model = await api.upload("models")
    await api.inspect(InspectionOutcome(model=MODEL_FACTS))
    return str(model["id"])


async def predict(api: ApiHarness, model: str, query: str = "", **request: Any) -> httpx.Response:
    return await api.http.post(f"/v1/models/{model}/predict{query}", **(request or {"json": ROWS}))


def problem(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()
    assert document["status"] == answer.status_code
    return answer.status_code, document["code"]


async def test_a_model_that_is_not_ready_and_a_service_without_workers_are_told(api: ApiHarness) -> None:
    assert problem(await predict(api, "mdl_01890a5d-ac96-774b-bcce-b302099a8057")) == (404, "unknown_model")
    verifying = str((await api.upload("models"))["id"])
    assert problem(await predict(api, verifying)) == (409, "not_ready")
    await api.inspect(InspectionOutcome(rejection=Rejection(code="unreadable", message="no")))
    assert problem(await predict(api, verifying)) == (409, "not_ready")
    model = await ready(api)
    alone = await predict(api, model)
    assert problem(alone) == (503, "no_predict_worker")
    assert "Retry-After" in alone.headers
    await owners.renew(api.services.database, "busy", 30.0)
    assert problem(await predict(api, model)) == (503, "prediction_timeout")


async def test_bodies_that_are_too_large_or_of_another_type_are_not_read(api: ApiHarness) -> None:
    model = await ready(api)
    await owners.renew(api.services.database, "stand-in", 30.0)
    large: dict[str, Any] = {"content": b" " * (MOST_BYTES + 1), "headers": {"Content-Type": "text/csv"}}
    assert problem(await predict(api, model, **large)) == (413, "body_too_large")
    picture: dict[str, Any] = {"content": b"x", "headers": {"Content-Type": "image/gif"}}
    assert problem(await predict(api, model, **picture)) == (415, "rows_expected")
    assert problem(await predict(api, model, "?compare=student")) == (400, "invalid_parameter")
    assert problem(await predict(api, model, "?compares=teacher")) == (400, "unknown_parameter")
    assert problem(await predict(api, model, "?compare=teacher")) == (409, "not_distilled")


async def test_requests_beyond_what_may_wait_get_503_with_retry_after(
    api: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their number, and by the bytes of their bodies, before these are read."""
    model = await ready(api)
    await owners.renew(api.services.database, "busy", 30.0)
    for budget in (Budget(most_requests=1), Budget(most_bytes=len(json.dumps(ROWS)) + 8)):
        monkeypatch.setattr(api.services.predictions, "budget", budget)
        first = asyncio.create_task(predict(api, model))
        await eventually(lambda: waits(api))
        refused = await predict(api, model)
        assert problem(refused) == (503, "predict_queue_full")
        assert "Retry-After" in refused.headers
        assert problem(await first) == (503, "prediction_timeout")
        assert problem(await predict(api, model)) == (503, "prediction_timeout")


async def test_a_chunked_body_counts_by_the_bytes_that_came(api: ApiHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    model = await ready(api)
    await owners.renew(api.services.database, "busy", 30.0)
    monkeypatch.setattr(api.services.predictions, "budget", Budget(most_bytes=MOST_BYTES + 100))

    async def body() -> AsyncIterator[bytes]:
        yield b"a,b"

    csv: dict[str, Any] = {"headers": {"Content-Type": "text/csv"}}
    first = asyncio.create_task(predict(api, model, content=body(), **csv))
    await eventually(lambda: waits(api))
    assert problem(await predict(api, model, content=body(), **csv)) == (503, "prediction_timeout")
    assert problem(await first) == (503, "prediction_timeout")


async def waits(api: ApiHarness) -> bool:
    """Whether a request waits for its answer."""
    async with api.services.database.read() as session:
        return await session.scalar(select(PredictionRow.id).where(PredictionRow.deadline > LeaseClock())) is not None


async def test_a_comparison_with_a_model_that_is_deleted_while_its_body_comes_is_told_so(api: ApiHarness) -> None:
    with pytest.raises(NotFound) as caught:
        await compare.compare(api.services, Caller("key_1", DEFAULT_PROJECT), GONE, "json", b"{}")
    assert caught.value.code == "unknown_model"


async def test_answers_are_compared_beside_other_requests_and_too_large_ones_are_refused(
    api: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = await ready(api), await ready(api)
    spec: dict[str, Any] = {"kind": "distill", "student": {"family": "mlp"}, "target": "digit"}
    await job_of(api.services.database, student, teachers=[{"model": teacher}], **spec)
    threads: list[int] = []
    merged = compare.merged

    def noted(*given: Any) -> bytes:
        threads.append(threading.get_ident())
        return merged(*given)

    monkeypatch.setattr(compare, "merged", noted)
    own = Answered(Reply(status=200), json.dumps({"model": student, **ANSWER}).encode())
    taught = {"rows": 1, "outputs": {"0": ANSWER["outputs"]["digit"]}}
    other = Answered(Reply(status=200), json.dumps({"model": teacher, **taught}).encode())
    async with answering_with(api, own, other) as asked:
        answer = await predict(api, student, "?compare=teacher")
    assert asked == [f"json {json.dumps(ROWS, separators=(',', ':'))}"] * 2
    (beside,) = answer.json()["teachers"]
    assert (beside["answer"], beside["agreement"]["same"]) == (ANSWER["outputs"]["digit"], 1.0)
    assert threading.get_ident() not in threads
    monkeypatch.setattr(compare, "MOST_ANSWERED_BYTES", len(own.body) + len(other.body) - 1)
    async with answering_with(api, own, other):
        answer = await predict(api, student, "?compare=teacher")
    assert problem(answer) == (422, "too_many_rows")
    assert "send fewer rows" in answer.json()["detail"]


@asynccontextmanager
async def answering_with(api: ApiHarness, *answers: Answered) -> AsyncIterator[list[str]]:
    """A stand-in worker, which answers the next requests so, in the order of their models' ids."""
    database, bodies = api.services.database, list[str]()
    await owners.renew(database, "stand-in", 30.0)

    async def work() -> None:
        left = list(answers)
        while left:
            for claimed in await answering.claim(database, "stand-in", 8):
                bodies.append(f"{claimed.question.format} {claimed.body.decode()}")
                await answering.answer(database, "stand-in", [(claimed, left.pop(0))])
            await asyncio.sleep(0.01)

    working = asyncio.create_task(work())
    yield bodies
    await working


async def test_answers_and_errors_of_a_worker_are_passed_on(api: ApiHarness) -> None:
    model = await ready(api)
    body = json.dumps({"model": model, **ANSWER}).encode()
    async with answering_with(api, Answered(Reply(status=200), body)) as asked:
        answer = await predict(api, model, content=b"a,b\n1,2\n", headers={"Content-Type": "text/csv; charset=utf-8"})
    assert (answer.status_code, answer.json()) == (200, {"model": model, **ANSWER})
    assert asked == ["csv a,b\n1,2\n"]
    where = Problem(pointer="/rows/0/a", code="wrong_type", detail="expected a number: send one")
    wrong = Reply(status=422, code=where.code, detail=where.detail, errors=(where,))
    async with answering_with(api, Answered(wrong)):
        answer = await predict(api, model)
    assert problem(answer) == (422, "wrong_type")
    assert answer.json()["errors"] == [where.model_dump()]
    for status, code in ((404, "unknown_model"), (409, "export_mismatch"), (503, "prediction_failed")):
        async with answering_with(api, Answered(Reply(status=status, code=code, detail="it is: so"))):
            assert problem(await predict(api, model)) == (status, code)
