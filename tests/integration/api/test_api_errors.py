"""Every error is a problem document with a stable code, and the key is asked for before all else."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import make_url

from app.access import authentication, repository
from app.access.secrets import new_key
from app.db import sqlite as writing
from app.db.errors import DatabaseFull
from app.http.services import Services
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness, Unread


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The document, after the checks that hold for every error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code
    assert document["status"] == status
    assert document["type"] == f"urn:stillhouse:problem:{code}"
    assert {"title", "detail", "instance"} <= set(document)
    assert document["instance"].endswith("#" + answer.headers["x-request-id"])
    return document


async def test_every_path_that_answers_get_answers_head_alike(harness: ApiHarness) -> None:
    job, model = (await harness.submit())["id"], await harness.ready_model()
    operations = harness.app.openapi()["paths"].items()
    paths = [path.format(job_id=job, model_id=model, dataset_id="ds_1") for path, of in operations if "get" in of]
    assert "/healthz" in paths
    for path in [*paths, f"/v1/jobs/{job}?wait=0", "/openapi.json", "/docs"]:
        got, head = await harness.http.get(path), await harness.http.head(path)
        assert head.status_code == got.status_code, path
        assert head.headers["content-type"] == got.headers["content-type"], path
    stream = {"Accept": "text/event-stream"}
    head = await asyncio.wait_for(harness.http.head(f"/v1/jobs/{job}/events", headers=stream), 30)
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert "head" not in {method for _, of in operations for method in of}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/datasets", "/v1/jobs"])
@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "key_needed"),
        ("Basic YTpi", "key_needed"),
        ("Bearer", "key_needed"),
        ("Bearer sth_wrong", "unknown_key"),
        (f"Bearer {'x' * 5000}", "unknown_key"),
    ],
)
async def test_without_a_key_the_body_is_never_read(
    harness: ApiHarness, path: str, header: str | None, code: str
) -> None:
    harness.http.headers.pop("authorization")
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Idempotency-Key": "k"}
    if header is not None:
        headers["Authorization"] = header
    answer = await harness.http.post(f"{path}?nonsense=1", content=Unread(), headers=headers)
    problem(answer, 401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_every_path_under_v1_asks_for_a_key(harness: ApiHarness) -> None:
    harness.http.headers.pop("authorization")
    paths = harness.app.openapi()["paths"]
    for path, operations in paths.items():
        for method in operations:
            answer = await harness.http.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == (401 if path.startswith("/v1") else 200), path


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_health_and_documentation_are_open(harness: ApiHarness, path: str) -> None:
    harness.http.headers.pop("authorization")
    assert (await harness.http.get(path)).status_code == 200


async def test_a_revoked_key_opens_nothing(any_harness: ApiHarness) -> None:
    key = new_key()
    async with any_harness.services.database.write() as session:
        row = await repository.add(session, key, "short-with_running_statistics")
    headers = {"Authorization": f"Bearer {key}"}
    assert (await any_harness.http.get("/v1/models", headers=headers)).status_code == 200
    async with any_harness.services.database.write() as session:
        assert await repository.revoke(session, row.id) == 1
    problem(await any_harness.http.get("/v1/models", headers=headers), 401, "unknown_key")


async def test_a_key_is_kept_as_a_digest_with_a_visible_prefix(harness: ApiHarness) -> None:
    async with harness.services.database.read() as session:
        row = (await repository.all_keys(session))[0]
    assert harness.key.startswith(row.prefix)
    assert len(row.prefix) == 12
    assert harness.key not in json.dumps({c.name: str(getattr(row, c.name)) for c in row.__table__.columns})


async def test_an_unknown_path_is_a_problem(harness: ApiHarness) -> None:
    problem(await harness.http.get("/v1/nothing"), 404, "not_found")
    problem(await harness.http.get("/v1/models/"), 404, "not_found")


async def test_a_wrong_method_names_the_right_ones(harness: ApiHarness) -> None:
    answer = await harness.http.put("/v1/models")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("query", ["dryrun=true", "dry_run=true&dry_run=false", "dry_run=perhaps"])
async def test_a_query_that_is_not_understood_submits_nothing(harness: ApiHarness, query: str) -> None:
    answer = await harness.http.post(f"/v1/jobs?{query}", json=await harness.train_spec())
    assert answer.status_code == 400
    assert (await harness.get("/v1/jobs"))["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "state=sleepy", "kind=x", f"after={'a' * 300}"])
async def test_a_parameter_out_of_bounds_is_named(harness: ApiHarness, query: str) -> None:
    document = problem(await harness.http.get(f"/v1/jobs?{query}"), 400, "invalid_parameter")
    assert query.partition("=")[0] in document["detail"]


HOSTILE: dict[str, tuple[bytes, int]] = {
    "NaN": (b'{"kind": "train", "training": {"learning_rate": NaN}}', 422),
    "1e999": (b'{"kind": "train", "training": {"learning_rate": 1e999}}', 422),
    "lone surrogate": (rb'{"kind": "\ud800"}', 400),
    "surrogate key": (rb'{"\ud800": 1}', 400),
    "depth": (b"[" * 10_000 + b"]" * 10_000, 400),
    "duplicate keys": (b'{"kind": "train", "kind": "distill"}', 400),
    "not utf-8": (b'{"kind": "\xff"}', 400),
    "empty": (b"", 400),
    "nul": (rb'{"kind": "train", "name": "\u0000"}', 422),
    "huge integer": (b'{"kind": "train", "training": {"seed": 9223372036854775808}}', 422),
    "a string": (b'"train"', 422),
    "null": (b"null", 422),
    "boolean": (b"true", 422),
}


@pytest.mark.parametrize(("body", "status"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_json_is_a_client_error(harness: ApiHarness, body: bytes, status: int) -> None:
    answer = await harness.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    problem(answer, status, answer.json()["code"])


async def test_a_body_above_one_mebibyte_is_413_before_it_is_read(harness: ApiHarness) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str((1 << 20) + 1)}
    problem(await harness.http.post("/v1/jobs", content=Unread(), headers=headers), 413, "body_too_large")


async def test_an_endless_body_is_cut_at_one_mebibyte(harness: ApiHarness) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    answer = await harness.http.post("/v1/jobs", content=endless(), headers={"Content-Type": "application/json"})
    problem(answer, 413, "body_too_large")
    assert sent < 3 << 20


async def test_another_content_type_than_json_is_415(harness: ApiHarness) -> None:
    problem(
        await harness.http.post("/v1/jobs", content=Unread(), headers={"Content-Type": "text/xml"}),
        415,
        "json_expected",
    )


async def test_what_nobody_planned_is_a_500_without_its_reason(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(type(harness.services.database), "ping", fails)
    document = problem(await harness.http.get("/readyz"), 500, "internal_error")
    assert "hunter2" not in json.dumps(document)


async def test_a_database_that_is_gone_is_503_until_it_is_back(migrated_postgresql_url: str, tmp_path: Path) -> None:
    async with opened(migrated_postgresql_url, tmp_path) as harness:
        name = make_url(migrated_postgresql_url).database
        with psycopg.connect(
            migrated_postgresql_url.replace("+psycopg", "").replace(f"/{name}", "/postgres"), autocommit=True
        ) as dba:
            dba.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            dba.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for path in ("/readyz", "/v1/models"):
                answer = await harness.http.get(path)
                problem(answer, 503, "database_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            assert (await harness.http.get("/healthz")).status_code == 200
            dba.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        assert (await harness.http.get("/v1/models")).status_code == 200


async def test_a_database_without_room_is_507_and_reading_goes_on(
    migrated_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(*_: object) -> None:
        raise DatabaseFull("a disk", "database or disk is full")

    with closing(sqlite3.connect(str(make_url(migrated_sqlite_url).database))) as connection:
        ((pages,),) = connection.execute("PRAGMA page_count")
    monkeypatch.setattr(writing, "DURABLE", (*writing.DURABLE, f"PRAGMA max_page_count = {pages + 24}"))
    async with opened(migrated_sqlite_url, tmp_path) as harness:
        spec = await harness.train_spec()
        for _ in range(200):  # until all pages are full
            answer = await harness.http.post("/v1/jobs", json=spec | {"labels": {"long": "x" * 128}})
            if answer.status_code != 202:
                break
        document = problem(answer, 507, "no_room")
        assert "free space on it from outside" in document["detail"]
        problem(await harness.http.get("/readyz"), 507, "no_room")
        monkeypatch.setattr(authentication, "_TOUCH_AFTER", timedelta(seconds=-1))
        monkeypatch.setattr(repository, "touch", no_room)  # when a key was last used cannot be written either
        assert (await harness.http.get("/v1/jobs")).status_code == 200
        assert (await harness.http.get("/healthz")).status_code == 200


async def test_bytes_missing_from_the_store_are_an_error_before_anything_is_sent(harness: ApiHarness) -> None:
    identity = await harness.ready_model()
    services: Services = harness.services
    file = (await harness.get(f"/v1/models/{identity}"))["files"][0]
    await services.store.delete(file["sha256"])
    problem(await harness.http.get(f"/v1/models/{identity}/weights"), 500, "bytes_missing")
