"""How often a key may ask, how much it may have open, and how wrong keys are slowed down."""

import asyncio

import httpx

from app.access import repository
from app.access.secrets import new_key
from tests.integration.api.harness import ApiHarness
from tests.integration.keys.conftest import Opening

NO_JOB = "job_01890000-0000-7000-8000-000000000000"


def refused(answer: httpx.Response) -> tuple[int, str, bool]:
    return answer.status_code, answer.json()["code"], int(answer.headers.get("retry-after", 0)) >= 1


async def another_key(harness: ApiHarness) -> dict[str, str]:
    key = new_key()
    async with harness.services.database.write() as session:
        await repository.add(session, key, "another")
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(limited: Opening) -> None:
    async with limited(requests_per_second=0.01, request_burst=3) as harness:
        answers = [await harness.http.get("/v1/jobs") for _ in range(4)]
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        assert refused(answers[3]) == (429, "too_many_requests", True)
        assert int(answers[3].headers["retry-after"]) > 10, "of the 100 seconds until the next token"
        assert (await harness.http.get("/v1/jobs", headers=await another_key(harness))).status_code == 200
        assert (await harness.http.get("/healthz")).status_code == 200


async def test_wrong_keys_are_slowed_down_and_right_ones_of_the_same_address_are_not(limited: Opening) -> None:
    wrong = {"Authorization": "Bearer sth_wrong"}
    async with limited(wrong_keys_per_minute=1) as harness:
        assert (await harness.http.get("/v1/jobs", headers=wrong)).status_code == 401
        further = await asyncio.gather(
            *(harness.http.get("/v1/jobs", headers={"Authorization": f"Bearer sth_{i}"}) for i in range(600))
        )
        assert {refused(answer) for answer in further} == {(429, "too_many_wrong_keys", True)}
        assert (await harness.http.get("/v1/jobs")).status_code == 200
        assert (await harness.http.get("/v1/jobs", headers=await another_key(harness))).status_code == 200


async def test_a_few_more_wrong_keys_are_answered_late(limited: Opening) -> None:
    clock = asyncio.get_running_loop().time
    async with limited(wrong_keys_per_minute=120) as harness:
        wrong = [harness.http.get("/v1/jobs", headers={"Authorization": f"Bearer sth_{i}"}) for i in range(122)]
        began = clock()
        assert {answer.status_code for answer in await asyncio.gather(*wrong)} == {401}
        assert clock() - began > 0.25, "the last two came at two a second"


async def test_long_polls_and_streams_of_a_key_are_bounded_together(limited: Opening) -> None:
    async with limited(waits_per_key=2) as harness:
        job = (await harness.submit())["id"]
        stream = {"Accept": "text/event-stream"}
        polls = [asyncio.create_task(harness.http.get(f"/v1/jobs/{job}?wait=30"))]
        polls.append(asyncio.create_task(harness.http.get(f"/v1/jobs/{job}/events", headers=stream)))
        async with asyncio.timeout(30):
            while sum(harness.services.open_waits.values()) < 2:  # noqa: ASYNC110 (the requests open them)
                await asyncio.sleep(0.005)
        for path, headers in ((f"jobs/{job}?wait=1", {}), (f"jobs/{job}/events", stream)):
            third = await harness.http.get(f"/v1/{path}", headers=headers)
            assert refused(third) == (429, "too_many_waits", True)
        assert (await harness.http.get(f"/v1/jobs/{job}")).status_code == 200, "without `wait` nothing is held open"
        another = await harness.http.get(f"/v1/jobs/{NO_JOB}?wait=1", headers=await another_key(harness))
        assert another.status_code == 404
        assert (await harness.http.post(f"/v1/jobs/{job}/cancel")).status_code == 200
        assert [(await poll).status_code for poll in polls] == [200, 200]
        assert not harness.services.open_waits, "what has ended is no longer counted"
