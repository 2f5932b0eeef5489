"""Datasets of several files: their order, their splits, and what is refused."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.contracts.problems import Rejection
from app.contracts.wire.orders import InspectionOutcome
from app.db.rows import BlobRow
from tests.integration.api.conftest import opened
from tests.integration.api.harness import DATASET, MODEL, ApiHarness, npz, safetensors

Files = dict[str, bytes]
CSV = {**DATASET, "format": "csv", "inputs": {"x": {"kind": "array", "columns": ["a"]}}}


def rows(text: str) -> bytes:
    return f"a,digit\n{text},0\n".encode()


async def send(
    harness: ApiHarness,
    files: Files | list[tuple[str, bytes]],
    manifest: Any = CSV,
    path: str = "datasets",
    **headers: str,
) -> httpx.Response:
    named = files.items() if isinstance(files, dict) else files
    parts: list[tuple[str, Any]] = [("file", each) for each in named]
    parts.insert(1, ("manifest", (None, json.dumps(manifest).encode())))
    return await harness.http.post(f"/v1/{path}", files=parts, headers=headers)


async def uploaded(harness: ApiHarness, files: Files, **manifest: Any) -> dict[str, Any]:
    answer = await send(harness, files, {**CSV, **manifest})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = await harness.get(f"/v1/datasets/{answer.json()['id']}")
    assert found == answer.json()
    return found


async def test_files_are_in_the_order_of_their_names(any_harness: ApiHarness) -> None:
    made = await uploaded(any_harness, {"b.csv": rows("2"), "a.csv": rows("1"), "c.csv": rows("1")})
    assert [each["name"] for each in made["files"]] == ["a.csv", "b.csv", "c.csv"]
    assert [each["role"] for each in made["files"]] == ["data"] * 3
    assert made["files"][0]["sha256"] == made["files"][2]["sha256"] != made["files"][1]["sha256"]
    assert made["dealt"] == {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "seed": 0, "stratify": None}
    assert not any_harness.staged()


NAMED = {"test-0.csv": rows("3"), "train-1.csv": rows("2"), "train-0.csv": rows("1")}
BY_NAME = {"files": {"test-0.csv": "test", "train-0.csv": "train", "train-1.csv": "train"}}
FRACTIONS: dict[str, Any] = {"fractions": {"train": 0.5, "validation": 0.5}, "seed": 0, "stratify": None}
SPLITS: dict[str, tuple[Files, dict[str, Any], dict[str, Any] | None]] = {
    "names say it": (NAMED, {}, BY_NAME),
    "the manifest says otherwise": (NAMED, {"splits": FRACTIONS}, FRACTIONS),
    "the manifest says it": (
        {"a.csv": rows("1"), "b.csv": rows("2")},
        {"splits": {"files": {"a.csv": "train", "b.csv": "validation"}}},
        {"files": {"a.csv": "train", "b.csv": "validation"}},
    ),
    "all names say the same": ({"train-0.csv": rows("1"), "train-1.csv": rows("2")}, {}, None),
    "a single file": ({"train.csv": rows("1")}, {}, None),
}


@pytest.mark.parametrize(("files", "manifest", "splits"), SPLITS.values(), ids=SPLITS.keys())
async def test_splits_are_those_of_the_manifest_then_those_of_the_names(
    harness: ApiHarness, files: Files, manifest: dict[str, Any], splits: dict[str, Any] | None
) -> None:
    dealt = (await uploaded(harness, files, **manifest))["dealt"]
    assert dealt == splits if splits is not None else "fractions" in dealt


REFUSED: dict[str, tuple[Any, Any, int, str, str]] = {
    "names of which some say a split": (
        {"train.csv": rows("1"), "more.csv": rows("2")}, CSV, 422, "unclear_splits", "`more.csv`",
    ),
    "names without training rows": (
        {"test.csv": rows("1"), "val.csv": rows("2")}, CSV, 422, "unclear_splits", "no file of training rows",
    ),
    "splits of another file": (
        {"a.csv": rows("1"), "b.csv": rows("2")},
        {**CSV, "splits": {"files": {"a.csv": "train", "c.csv": "test"}}}, 422, "unknown_file", "`c.csv`",
    ),
    "one name twice": ([("a.csv", rows("1")), ("a.csv", rows("2"))], CSV, 422, "doubled_file", "`a.csv`"),
    "no name": ([("a.csv", rows("1")), ("", rows("2"))], CSV, 422, "unnamed_file", "without"),
    "an empty one": ({"a.csv": rows("1"), "b.csv": b""}, CSV, 422, "empty_file", "`b.csv`"),
    "another format": ({"a.csv": rows("1"), "b.csv": npz()}, CSV, 422, "format_mismatch", "in the file `b.csv`: "),
    "a pickle": ({"a.csv": rows("1"), "b.csv": b"\x80\x04x"}, CSV, 422, "refused_format", "pickle"),
    "65 files": ({f"{i}.csv": rows("1") for i in range(65)}, CSV, 400, "too_many_files", "64"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "manifest", "status", "code", "named"), REFUSED.values(), ids=REFUSED.keys())
async def test_files_that_do_not_go_together_are_refused_and_leave_nothing(
    harness: ApiHarness, files: Any, manifest: Any, status: int, code: str, named: str
) -> None:
    answer = await send(harness, files, manifest)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert named in answer.json()["detail"]
    assert not harness.staged()
    assert not (await harness.get("/v1/datasets"))["data"]
    async with harness.services.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(BlobRow)) == 0


async def test_a_model_is_one_file(harness: ApiHarness) -> None:
    answer = await send(harness, {"a": safetensors(), "b": safetensors()}, MODEL, "models")
    assert (answer.status_code, answer.json()["code"]) == (400, "doubled_part")


async def test_the_files_of_an_upload_are_limited_together(migrated_sqlite_url: str, tmp_path: Path) -> None:
    async with opened(migrated_sqlite_url, tmp_path, max_upload_bytes=100) as harness:
        assert (await send(harness, {"a.csv": rows("1"), "b.csv": rows("2" * 40)})).status_code == 201
        answer = await send(harness, {"a.csv": rows("1" * 50), "b.csv": rows("2" * 50)})
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
        assert not harness.staged()


async def test_the_same_files_in_another_order_are_the_same_request(any_harness: ApiHarness) -> None:
    files = {"a.csv": rows("1"), "b.csv": rows("2")}
    key = {"Idempotency-Key": "k" * 20}
    first = await send(any_harness, files, **key)
    again = await send(any_harness, dict(reversed(files.items())), **key)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = await send(any_harness, {"a.csv": rows("2"), "b.csv": rows("1")}, **key)
    assert other.status_code == 422


async def test_a_better_manifest_is_for_all_files(harness: ApiHarness) -> None:
    made = await uploaded(harness, NAMED)
    await harness.inspect(InspectionOutcome(rejection=Rejection(code="missing_column", message="no `a`")))
    place = f"/v1/datasets/{made['id']}"
    answer = await harness.http.patch(place, json={"splits": {"files": {"train-0.csv": "train", "x.csv": "test"}}})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_file")
    answer = await harness.http.patch(place, json={"format": "npz"})
    assert (answer.status_code, answer.json()["code"]) == (422, "format_mismatch")
    answer = await harness.http.patch(place, json={"splits": FRACTIONS})
    assert (answer.status_code, answer.json()["dealt"]) == (200, FRACTIONS)
    await harness.inspect(InspectionOutcome(rejection=Rejection(code="missing_column", message="no `a`")))
    answer = await harness.http.patch(place, json={"splits": None})
    assert (answer.status_code, answer.json()["dealt"]) == (200, BY_NAME)
    assert len(answer.json()["files"]) == 3
