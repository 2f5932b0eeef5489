"""Real inspections in the real sandbox: every accepted format can be read there, and an upload can do nothing else."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from sqlalchemy import select

from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.states import JobState
from app.db.ids import new_id
from app.db.rows import DatasetRow, FileRow, ModelRow
from app.queue.blobs import mark_stored
from app.queue.records import NewJob
from tests.engine.data.formats.images.archives import encoded, noise, zipped
from tests.integration.worker.harness import WorkerHarness, environment_of, eventually, size_and_digest, threads_of
from workers.runtime.child.pool import DEFAULT_ENTRY

ROWS = 40
Resource = type[ModelRow] | type[DatasetRow]


@pytest.fixture
async def harness(migrated_sqlite_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(migrated_sqlite_url, tmp_path / "data", lease_seconds=60.0)
    yield harness
    await harness.close()


def _weights() -> dict[str, torch.Tensor]:
    return {
        "layers.0.weight": torch.zeros(3, 4),
        "layers.0.bias": torch.zeros(3),
        "layers.1.weight": torch.zeros(2, 3),
        "layers.1.bias": torch.zeros(2),
    }


def _safetensors(path: Path) -> None:
    save_file(_weights(), path)


def _state_dict(path: Path) -> None:
    torch.save(_weights(), path)


def _onnx(path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["digit"])
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [4, 2], np.zeros(8, np.float32)),
        helper.make_tensor("b", TensorProto.FLOAT, [2], np.zeros(2, np.float32)),
    ]
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    answers = helper.make_tensor_value_info("digit", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([node], "teacher", [rows], [answers], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _columns() -> dict[str, Any]:
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{i}": random.normal(size=ROWS).astype(np.float32) for i in range(4)}
    return columns | {"digit": np.arange(ROWS) % 2}


def _npz(path: Path) -> None:
    columns = _columns()
    x = np.stack([columns[f"x{i}"] for i in range(4)], axis=1)
    with path.open("wb") as file:
        np.savez(file, x=x, digit=columns["digit"])


def _parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pa.table(_columns()), path)


def _csv(path: Path) -> None:
    columns = _columns()
    lines = [",".join(columns)] + [",".join(str(columns[name][i]) for name in columns) for i in range(ROWS)]
    path.write_text("\n".join(lines) + "\n")


def _jsonl(path: Path) -> None:
    columns = _columns()
    path.write_text("".join(json.dumps({n: float(columns[n][i]) for n in columns}) + "\n" for i in range(ROWS)))


MODELS: dict[str, Callable[[Path], None]] = {"safetensors": _safetensors, "state_dict": _state_dict, "onnx": _onnx}


def _images(path: Path) -> None:
    """With a table, which is unpacked into a temporary file."""
    files = {f"{i}.png": encoded(noise(6, 8, seed=i)) for i in range(ROWS)}
    table = "".join(f"{name},{i % 2}\n" for i, name in enumerate(files))
    zipped(path, {**files, "metadata.csv": f"file_name,digit\n{table}".encode()})


DATASETS: dict[str, Callable[[Path], None]] = {
    "npz": _npz,
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _jsonl,
    "images": _images,
}


def _manifest(kind: str) -> dict[str, Any]:
    if kind in MODELS:
        manifest: dict[str, Any] = {"name": kind, "format": kind, "outputs": {"digit": {"kind": "class"}}}
        if kind != "onnx":
            outputs = {"digit": 2}
            manifest["architecture"] = {"family": "mlp", "input_shape": (4,), "hidden": (3,), "outputs": outputs}
        return manifest
    x: dict[str, Any] = {"kind": "array", "columns": tuple(f"x{i}" for i in range(4))}
    if kind in ("npz", "images"):
        x = {"kind": "array"} if kind == "npz" else {"kind": "image", "size": (6, 8)}
    return {
        "name": kind,
        "format": kind,
        "inputs": {"x": x},
        "targets": {"digit": {"kind": "class", "classes": 2}},
    }


async def _upload(harness: WorkerHarness, kind: str, *files: Path) -> tuple[Resource, str, str]:
    """Rows as the API makes them; (what it is, its id, its inspection's job)."""
    rows = []
    for position, file in enumerate(files):
        name, (size, sha256) = file.name, size_and_digest(file)
        await harness.blobs.publish(file, sha256)
        role = "weights" if kind in MODELS else "data"
        rows.append(FileRow(name=name, role=role, bytes=size, sha256=sha256, position=position))
    is_model = kind in MODELS
    manifest = (ModelManifest if is_model else DatasetManifest).model_validate(_manifest(kind))
    row: Resource = ModelRow if is_model else DatasetRow
    identity = new_id("mdl" if is_model else "ds")
    source = {"source": "upload"} if is_model else {}
    async with harness.database.write() as session:
        await mark_stored(session, [file.sha256 for file in rows])
        session.add(
            row(
                id=identity,
                name=kind,
                state="verifying",
                format=kind,
                manifest=manifest.model_dump(mode="json"),
                files=rows[::-1],
                **source,
            )
        )
    spec = InspectJob(model=identity) if is_model else InspectJob(dataset=identity)
    async with harness.database.write() as session:
        return row, identity, (await harness.ledger.submit(session, NewJob(spec=spec))).id


async def test_every_accepted_format_can_be_inspected_in_the_sandbox(harness: WorkerHarness, tmp_path: Path) -> None:
    uploads = {}
    for kind, write in (MODELS | DATASETS).items():
        write(tmp_path / kind)
        uploads[kind] = await _upload(harness, kind, tmp_path / kind)
    harness.process(lanes=("inspect",), entry=DEFAULT_ENTRY)
    found: dict[str, tuple[object, ...]] = {}
    for kind, (row, identity, job_id) in uploads.items():
        job = await harness.ends(job_id)
        assert job.state is JobState.SUCCEEDED, (kind, job.error)
        query = select(row.state, row.rejection).where(row.id == identity)
        async with harness.database.read() as session:
            found[kind] = tuple((await session.execute(query)).one())
    assert found == dict.fromkeys(uploads, ("ready", None))


async def test_several_files_are_inspected_as_one_dataset_in_the_sandbox(
    harness: WorkerHarness, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("b", "a", "c")]
    for i, file in enumerate(files):
        _csv(file)
        file.write_text(file.read_text() + f"{i},0,0,0,1\n")  # another digest for each
    _, identity, job_id = await _upload(harness, "csv", *files)
    harness.process(lanes=("inspect",), entry=DEFAULT_ENTRY)
    assert (await harness.ends(job_id)).state is JobState.SUCCEEDED
    async with harness.database.read() as session:
        state, facts = (
            await session.execute(select(DatasetRow.state, DatasetRow.facts).where(DatasetRow.id == identity))
        ).one()
    assert (state, facts["rows"]) == ("ready", 3 * (ROWS + 1))
    assert list(facts["files"].items()) == [("b", ROWS + 1), ("a", ROWS + 1), ("c", ROWS + 1)]


async def test_the_warm_fork_server_has_one_thread_and_no_secrets(harness: WorkerHarness) -> None:
    worker = harness.process(lanes=("inspect",), entry=DEFAULT_ENTRY)

    async def ready() -> bool:
        return harness.paths.heartbeat.exists()

    await eventually(ready)
    server = worker.fork_server()
    assert threads_of(server) == 1
    assert "STILLHOUSE" not in environment_of(server)
