"""Lists of jobs by text, and the verdict in them."""

from typing import Any

import pytest

from tests.integration.api.harness import REPORT, ApiHarness


async def named(harness: ApiHarness, *names: str) -> dict[str, str]:
    """The ids of jobs with these names."""
    spec = await harness.train_spec()
    return {name: (await harness.submit(spec | {"name": name}))["id"] for name in names}


async def found(harness: ApiHarness, **params: Any) -> list[str]:
    return [each["id"] for each in (await harness.http.get("/v1/jobs", params=params)).json()["data"]]


async def test_a_text_is_found_anywhere_in_a_name_whatever_its_case(any_harness: ApiHarness) -> None:
    ids = await named(any_harness, "Digits small", "more DIGITS", "letters")
    assert await found(any_harness, text="digits") == [ids["more DIGITS"], ids["Digits small"]]
    assert await found(any_harness, text="DIGITS S") == [ids["Digits small"]]
    assert await found(any_harness, text="nothing") == []


async def test_letters_of_other_alphabets_are_found_as_they_are_written(any_harness: ApiHarness) -> None:
    ids = await named(any_harness, "Übung für Ziffern")
    for text in ("Übung", "für z"):
        assert await found(any_harness, text=text) == [ids["Übung für Ziffern"]], text


@pytest.mark.parametrize("text", ["100%", "a_b", "a!b"])
async def test_signs_that_sql_reads_as_patterns_stand_for_themselves(any_harness: ApiHarness, text: str) -> None:
    ids = await named(any_harness, f"<{text}>", "100 percent", "a-b")
    assert await found(any_harness, text=text) == [ids[f"<{text}>"]]


async def test_a_job_is_found_by_a_part_of_its_id(any_harness: ApiHarness) -> None:
    ids = await named(any_harness, "one", "two")
    assert await found(any_harness, text=ids["one"][-12:].upper()) == [ids["one"]]


async def test_text_goes_with_every_other_filter_and_with_pages(any_harness: ApiHarness) -> None:
    ids = await named(any_harness, *(f"digits {i}" for i in range(5)))
    await any_harness.http.post(f"/v1/jobs/{ids['digits 3']}/pause")
    assert await found(any_harness, text="digits", state="paused", kind="train") == [ids["digits 3"]]
    first = (await any_harness.http.get("/v1/jobs", params={"text": "digits", "limit": 2})).json()
    assert [each["name"] for each in first["data"]] == ["digits 4", "digits 3"]
    rest = await any_harness.http.get("/v1/jobs", params={"text": "digits", "limit": 9, "after": first["next"]})
    assert [each["name"] for each in rest.json()["data"]] == ["digits 2", "digits 1", "digits 0"]
    assert await found(any_harness, text="digits", label="team") == []


async def test_a_job_has_its_verdict_in_a_word_once_it_has_succeeded(any_harness: ApiHarness) -> None:
    job = await any_harness.submit()
    assert job["verdict"] is None
    report = REPORT | {"verdict": {"digit": {"verdict": "gain", "metric": "accuracy"}}}
    await any_harness.succeed(await any_harness.begin(), b"weights", report=report)
    (listed,) = (await any_harness.get("/v1/jobs"))["data"]
    assert listed["verdict"] == {"digit": "gain"}
    assert (await any_harness.get(f"/v1/jobs/{job['id']}"))["verdict"] == {"digit": "gain"}


async def test_a_job_without_teachers_has_no_verdict(harness: ApiHarness) -> None:
    await harness.submit()
    await harness.succeed(await harness.begin(), b"weights")
    assert (await harness.get("/v1/jobs"))["data"][0]["verdict"] is None
