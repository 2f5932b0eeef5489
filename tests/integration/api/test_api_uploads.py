"""Uploads that should not get in: refused early, by name, with nothing left behind."""

import asyncio
import io
import json
import pickle
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from app.contracts.resources.manifests import DatasetFormat
from tests.integration.api.conftest import opened
from tests.integration.api.harness import DATASET, MODEL, ApiHarness, Unread, npz, safetensors

BOUNDARY = "frontier"


def zipped(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return target.getvalue()


def torch_zip(*more: str) -> bytes:
    return zipped("m/data.pkl", "m/byteorder", "m/data/0", "m/version", *more)


async def empty(harness: ApiHarness, path: str = "models") -> bool:
    """Nothing is visible, queued or on the staging disk."""
    rows = (await harness.get(f"/v1/{path}"))["data"] + (await harness.get("/v1/jobs?kind=inspect"))["data"]
    return not rows and not harness.staged()


REFUSED_NAMES = [
    "pickle", "pkl", "joblib", "torchscript", "jit", "pt2", "torch.export", "tar", "hdf5", "h5", "keras", "feather",
    "arrow", "saved_model", "tflite", "gguf", ".PKL",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_a_code_carrying_format_is_refused_by_name_with_the_way_out(harness: ApiHarness, name: str) -> None:
    answer = await harness.post("models", MODEL | {"format": name}, safetensors())
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "refused_format")
    assert problem["errors"][0]["pointer"] == "/format"
    assert "Way out" in problem["detail"]
    assert await empty(harness)


REFUSED_BYTES: dict[str, bytes] = {
    "pickle": pickle.dumps({"a": 1}),
    "old pickle": pickle.dumps({"a": 1}, protocol=2),
    "torch before 1.6": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\0" * 99,
    "torchscript": torch_zip("m/code/__torch__.py", "m/constants.pkl"),
    "pt2": zipped("m/archive_format", "m/models/model.json", "m/data/weights/w"),
    "old pt2": zipped("serialized_exported_program.json", "serialized_state_dict.pt"),
    "keras": zipped("config.json", "model.weights.h5"),
    "zip": zipped("readme.txt", "weights.safetensors"),
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 99,
    "feather": b"ARROW1\0\0" + b"\0" * 99,
    "tar": b"name" + b"\0" * 253 + b"ustar\x0000" + b"\0" * 400,
    "gzip": b"\x1f\x8b\x08" + b"\0" * 99,
    "npy": b"\x93NUMPY\x01\x00" + b"\0" * 99,
    "gguf": b"GGUF" + b"\0" * 99,
    "program": b"\x7fELF" + b"\0" * 99,
}


@pytest.mark.parametrize("content", REFUSED_BYTES.values(), ids=REFUSED_BYTES.keys())
@pytest.mark.parametrize("fmt", ["safetensors", "state_dict", "onnx"])
async def test_a_code_carrying_file_is_refused_by_its_bytes_whatever_it_claims(
    harness: ApiHarness, content: bytes, fmt: str
) -> None:
    manifest = (
        MODEL | {"format": fmt} if fmt != "onnx" else {"name": "m", "format": "onnx", "outputs": MODEL["outputs"]}
    )
    answer = await harness.post("models", manifest, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "refused_format"), answer.text
    assert await empty(harness)


@pytest.mark.parametrize(
    ("path", "manifest", "content", "hint"),
    [
        ("models", MODEL, torch_zip(), "state_dict"),
        ("models", MODEL | {"format": "state_dict"}, safetensors(), "safetensors"),
        ("models", MODEL, npz(), "npz"),
        ("models", MODEL, b"\0" * 100, "safetensors"),
        ("models", MODEL, b"<html>not found</html>", "safetensors"),
        ("datasets", DATASET, b"a,b\n1,2\n", "npz"),
        ("datasets", DATASET | {"format": "csv"}, npz(), "npz"),
        ("datasets", DATASET | {"format": "parquet"}, b"PAR1" + b"\0" * 99, "parquet"),
    ],
)
async def test_bytes_of_another_format_are_named(
    harness: ApiHarness, path: str, manifest: dict[str, Any], content: bytes, hint: str
) -> None:
    answer = await harness.post(path, manifest, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "format_mismatch")
    assert hint in answer.json()["detail"]
    assert await empty(harness, path)


async def test_what_is_in_an_npz_besides_arrays_is_named(harness: ApiHarness) -> None:
    answer = await harness.post("datasets", DATASET, zipped("x.npy", "notes/README.txt", "digit.npy"))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "refused_format")
    assert "found `notes/README.txt` between them. Way out: write it by numpy.savez" in problem["detail"]
    assert await empty(harness, "datasets")


async def test_a_state_dict_is_an_original_until_it_is_converted(harness: ApiHarness) -> None:
    made = await harness.upload("models", MODEL | {"format": "state_dict"}, torch_zip())
    assert made["files"][0]["role"] == "original"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (npz()[:-40], "broken_archive"),
        (b"PK\x03\x04" + b"\0" * 200, "broken_archive"),
        (npz()[:-6] + b"\xff\xff\xff\x7f\0\0", "broken_archive"),
        (npz() + b"\0" * 80, "broken_archive"),
        (npz()[:-2] + b"\5\0", "broken_archive"),
        (b"", "empty_file"),
    ],
)
async def test_a_broken_file_is_refused(harness: ApiHarness, content: bytes, code: str) -> None:
    answer = await harness.post("datasets", DATASET, content)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert await empty(harness, "datasets")


def multipart(*parts: tuple[str, bytes]) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    body = b"".join(f'{head}{name}"\r\n\r\n'.encode() + content + b"\r\n" for name, content in parts)
    return body + f"--{BOUNDARY}--\r\n".encode()


async def send(
    harness: ApiHarness, body: bytes | AsyncIterator[bytes], path: str = "models", **more: str
) -> httpx.Response:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} | more
    return await harness.http.post(f"/v1/{path}", content=body, headers=headers)


@pytest.mark.parametrize("order", [0, 1])
async def test_the_parts_come_in_either_order_and_the_manifest_in_any_content_type(
    any_harness: ApiHarness, order: int
) -> None:
    parts = [("manifest", json.dumps(MODEL).encode()), ("file", safetensors())]
    assert (await send(any_harness, multipart(*(parts if order else parts[::-1])))).status_code == 201


@pytest.mark.parametrize("cut", [10, 200, 700, -3])
async def test_a_body_without_its_end_leaves_nothing(any_harness: ApiHarness, cut: int) -> None:
    whole = multipart(("manifest", json.dumps(MODEL).encode()), ("file", safetensors(b"\0" * 2000)))
    answer = await send(any_harness, whole[:cut])
    assert (answer.status_code, answer.json()["code"]) == (400, "truncated_body")
    assert await empty(any_harness)


@pytest.mark.parametrize(
    ("manifest", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"name": NaN}', 422, "not_finite"),
        (b"[" * 10_000, 400, "too_deep"),
        (b" " * (1 << 20) + b"{}", 413, "manifest_too_large"),
        (json.dumps(MODEL | {"extra": 1}).encode(), 422, "invalid_request"),
        (json.dumps(MODEL | {"architecture": None}).encode(), 422, "invalid_request"),
    ],
)
async def test_a_bad_manifest_is_refused_before_its_file_is_read(
    harness: ApiHarness, manifest: bytes, status: int, code: str
) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        whole = multipart(("manifest", manifest), ("file", safetensors(b"\0" * 4_000_000)))
        for start in range(0, len(whole), 65_536):
            read += 65_536
            yield whole[start : start + 65_536]

    answer = await send(harness, body())
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert read < len(manifest) + 200_000
    assert await empty(harness)


TAR = REFUSED_BYTES["tar"] + b"\0" * 4_000_000


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("models", pickle.dumps(b"\0" * 4_000_000)),
        ("datasets", pickle.dumps(b"\0" * 4_000_000)),
        ("models", TAR),
    ],
    ids=["pickle", "pickle as dataset", "tar as model"],
)
async def test_a_file_that_no_manifest_could_make_acceptable_is_refused_at_its_first_bytes_even_before_its_manifest(
    harness: ApiHarness, path: str, content: bytes
) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        whole = multipart(("file", content), ("manifest", b"{}"))
        for start in range(0, len(whole), 65_536):
            read += 65_536
            yield whole[start : start + 65_536]

    assert (await send(harness, body(), path)).json()["code"] == "refused_format"
    assert read <= 65_536 * 2


async def test_an_archive_of_any_size_is_decided_by_its_manifest_wherever_that_stands(harness: ApiHarness) -> None:
    sound = {"kind": "audio", "seconds": 0.1, "features": {"mels": 16}}
    inputs: dict[str, Any] = {"images": {"x": {"kind": "image", "size": [4, 4]}}, "sounds": {"x": sound}}
    for fmt in get_args(DatasetFormat):
        manifest = DATASET | {"format": fmt, "inputs": inputs.get(fmt, DATASET["inputs"])}
        parts = (("manifest", json.dumps(manifest).encode()), ("file", TAR))
        for order in (parts, parts[::-1]):
            answer = await send(harness, paced(multipart(*order), 60, 0.0), "datasets")
            assert answer.status_code == (201 if fmt in inputs else 422), (fmt, order[0][0], answer.text)
            assert fmt in inputs or answer.json()["code"] == "refused_format"


async def test_a_length_above_the_bound_is_413_before_the_body_is_read(
    migrated_sqlite_url: str, tmp_path: Path
) -> None:
    async with opened(migrated_sqlite_url, tmp_path, max_upload_bytes=1000) as harness:
        answer = await send(harness, Unread(), **{"Content-Length": str(10**7)})
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


async def test_a_length_without_room_is_507_before_the_body_is_read(migrated_sqlite_url: str, tmp_path: Path) -> None:
    async with opened(migrated_sqlite_url, tmp_path, max_upload_bytes=1 << 60, bytes_per_key=1 << 61) as harness:
        answer = await send(harness, Unread(), **{"Content-Length": str(1 << 59)})
        assert (answer.status_code, answer.json()["code"]) == (507, "no_room")


async def test_a_body_without_a_length_is_bounded_as_it_comes(migrated_sqlite_url: str, tmp_path: Path) -> None:
    async with opened(migrated_sqlite_url, tmp_path, max_upload_bytes=100_000) as harness:

        async def body() -> AsyncIterator[bytes]:
            yield multipart(("manifest", json.dumps(MODEL).encode()), ("file", safetensors(b"\0" * 200_000)))

        answer = await send(harness, body())
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
        assert await empty(harness)


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "9" * 30])
async def test_a_length_that_is_none_is_refused(harness: ApiHarness, length: str) -> None:
    answer = await send(harness, Unread(), **{"Content-Length": length})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_content_length")


async def test_a_body_that_stands_still_is_given_up(migrated_sqlite_url: str, tmp_path: Path) -> None:
    async with opened(migrated_sqlite_url, tmp_path, body_seconds=0.2) as harness:

        async def body() -> AsyncIterator[bytes]:
            yield multipart(("manifest", json.dumps(MODEL).encode()))[:40]
            await asyncio.sleep(30)

        answer = await asyncio.wait_for(send(harness, body()), 20)
        assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
        assert await empty(harness)


def paced(whole: bytes, pieces: int, seconds: float) -> AsyncIterator[bytes]:
    """A body in equal pieces, with a pause before each."""

    async def body() -> AsyncIterator[bytes]:
        step = -(-len(whole) // pieces)
        for start in range(0, len(whole), step):
            await asyncio.sleep(seconds)
            yield whole[start : start + step]

    return body()


async def test_a_body_below_the_pace_is_given_up_and_one_above_it_taken(
    migrated_sqlite_url: str, tmp_path: Path
) -> None:
    whole = multipart(("manifest", json.dumps(MODEL).encode()), ("file", safetensors(b"\0" * 20_000)))
    changes = {"body_seconds": 1.5, "body_bytes_per_second": 2000}
    async with opened(migrated_sqlite_url, tmp_path, **changes) as harness:
        slow = await send(harness, paced(whole, 2000, 0.05))
        assert (slow.status_code, slow.json()["code"]) == (408, "body_too_slow")
        assert "expected at least 2000 bytes of the body a second" in slow.json()["detail"]
        assert await empty(harness)
        assert (await send(harness, paced(whole, 8, 0.25))).status_code == 201


async def test_uploads_that_announce_the_whole_disk_and_send_nothing_leave_room_for_others(
    harness: ApiHarness,
) -> None:
    announced = str(harness.services.space.free() * 4 // 5)
    begun, end = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield multipart(("manifest", json.dumps(MODEL).encode()))[:100]
        begun.set()
        await end.wait()

    idle = [asyncio.create_task(send(harness, body(), **{"Content-Length": announced})) for _ in range(11)]
    await asyncio.wait_for(begun.wait(), 30)
    assert (await harness.post("models", MODEL, safetensors())).status_code == 201
    end.set()
    assert {answer.status_code for answer in await asyncio.gather(*idle)} == {400}


async def test_open_uploads_of_a_key_are_bounded_and_other_requests_are_not(
    migrated_sqlite_url: str, tmp_path: Path
) -> None:
    async with opened(migrated_sqlite_url, tmp_path, uploads_per_key=2) as harness:
        begun, end = [asyncio.Event(), asyncio.Event()], asyncio.Event()
        whole = multipart(("manifest", json.dumps(MODEL).encode()), ("file", safetensors()))

        async def body(event: asyncio.Event) -> AsyncIterator[bytes]:
            yield whole[:300]
            event.set()
            await end.wait()
            yield whole[300:]

        kept = [asyncio.create_task(send(harness, body(event))) for event in begun]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in begun)), 30)
        refused = await send(harness, Unread(), "datasets")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_uploads")
        assert int(refused.headers["Retry-After"]) >= 1
        await harness.get("/v1/models")
        end.set()
        assert {answer.status_code for answer in await asyncio.gather(*kept)} == {201}
        assert (await send(harness, whole)).status_code == 201
        assert not harness.services.open_uploads


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
async def test_another_content_type_is_415(harness: ApiHarness, kind: str) -> None:
    answer = await harness.http.post("/v1/models", content=Unread(), headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "multipart_expected")


async def test_an_upload_in_flight_holds_its_key(any_harness: ApiHarness) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    whole = multipart(("manifest", json.dumps(MODEL).encode()), ("file", safetensors()))

    async def body() -> AsyncIterator[bytes]:
        yield whole[:300]
        begun.set()
        await go_on.wait()
        yield whole[300:]

    first = asyncio.create_task(send(any_harness, body(), **{"Idempotency-Key": "k"}))
    await asyncio.wait_for(begun.wait(), 30)
    second = await send(any_harness, whole, **{"Idempotency-Key": "k"})
    assert (second.status_code, second.json()["code"]) == (409, "in_flight")
    go_on.set()
    assert (await first).status_code == 201
    assert (await send(any_harness, whole, **{"Idempotency-Key": "k"})).json() == (await first).json()


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 300, "é"])
async def test_a_key_that_is_none_is_refused(harness: ApiHarness, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = await harness.http.post("/v1/jobs", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
