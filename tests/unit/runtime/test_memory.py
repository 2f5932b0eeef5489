"""The address space that a child may take, by what its job is estimated to take."""

from pathlib import Path

import pytest

from app.contracts.resolving.footprint import memory_bytes, memory_of_uploads
from app.contracts.resources.facts import DatasetFacts, InputFacts
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import AnyJob, InspectJob, PreflightJob, TrainJob
from app.contracts.specs.training import TrainingSpec
from tests.unit.runtime.test_sandbox import order_of
from workers.runtime.supervisor.order import with_memory_limit

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
MODEL = Mlp(family="mlp", input_shape=(23,), hidden=(), outputs={"y": 3})
TRAIN = TrainJob(kind="train", dataset=DATASET, model=MODEL)
MB = 1 << 20


def estimate(spec: AnyJob, rows: int = 0, files_bytes: int = 0, threads: int = 0) -> int:
    facts = DatasetFacts(rows=rows, splits={}, inputs={"x": InputFacts(shape=(23,))}, targets={})
    return memory_bytes(spec, [facts], files_bytes, threads)


def test_the_estimate_follows_files_rows_threads_weights_and_batches() -> None:
    """24 · 3 weights of 4 bytes, six times with Adam; 2 bytes for each of 2 · 23 · 3 FLOPs of 1024 rows or a batch."""
    inspection = estimate(InspectJob(dataset=DATASET), files_bytes=100)
    assert inspection == memory_of_uploads(100) == (8 << 30) + 600
    nothing = memory_of_uploads(0)
    trained = 24 * 3 * 4 * 6 + 2 * 1024 * 2 * 23 * 3
    assert estimate(TRAIN) == nothing + trained
    assert estimate(PreflightJob(kind="preflight", job=TRAIN)) == nothing + trained
    assert estimate(TRAIN, rows=10) == nothing + trained + 3 * 10 * 23 * 4
    assert estimate(TRAIN, threads=2) == nothing + trained + 2 * 144 * MB
    large = TRAIN.model_copy(update={"training": TrainingSpec(batch_size=4096)})
    assert estimate(large) - estimate(TRAIN) == 2 * (4096 - 1024) * 2 * 23 * 3


def _limited(kind: str, folder: Path, room: float, **changes: object) -> int | None:
    (folder / "cache" / "inputs").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "inputs" / "own").write_bytes(b"12345")
    order = order_of(kind, folder).model_copy(update={"memory_bytes": None, **changes})
    return with_memory_limit(order, room).memory_bytes


def test_a_job_on_the_cpu_has_the_room_that_is_set(tmp_path: Path) -> None:
    estimated = _limited("training", tmp_path, 1.0)
    assert estimated == memory_of_uploads(5) + 144 * MB
    assert _limited("training", tmp_path, 4.0) == 4 * estimated
    assert _limited("training", tmp_path, 0.0) is None


def test_a_job_on_a_gpu_has_no_limit_of_addresses(tmp_path: Path) -> None:
    assert _limited("training", tmp_path, 4.0, device="cuda:0") is None


@pytest.mark.parametrize("room", [0.0, 4.0])
def test_an_inspection_is_always_limited(room: float, tmp_path: Path) -> None:
    assert _limited("inspection", tmp_path, room) == memory_of_uploads(5)
