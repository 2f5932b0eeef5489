"""What `POST /v1/models/{id}/predict` refuses before a worker sees it, and what it makes of a worker's answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.contracts.problems import Problem, Rejection
from app.contracts.wire.orders import InspectionOutcome
from app.contracts.wire.predictions import MOST_BYTES, Reply
from app.queue.predictions import answering, owners
from app.queue.predictions.records import Answered
from tests.integration.api.conftest import opened
from tests.integration.api.harness import MODEL_FACTS, ApiHarness

ROWS = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}
ANSWER = {"rows": 1, "outputs": {"digit": {"class": [1], "probabilities": [[0.25, 0.75]], "logits": [[0.0, 1.1]]}}}


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[ApiHarness]:
    async with opened(sqlite_url, tmp_path / "data", prediction_seconds=1.0) as harness:
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
    picture: dict[str, Any] = {"content": b"x", "headers": {"Content-Type": "image/png"}}
    assert problem(await predict(api, model, **picture)) == (415, "rows_expected")
    assert problem(await predict(api, model, "?compare=student")) == (400, "invalid_parameter")
    assert problem(await predict(api, model, "?compares=teacher")) == (400, "unknown_parameter")
    assert problem(await predict(api, model, "?compare=teacher")) == (409, "not_distilled")


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
