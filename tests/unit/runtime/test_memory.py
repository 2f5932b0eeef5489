"""The address space that a child may take, by what its job is estimated to take."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.contracts.resolving.footprint import Footprint, footprint, footprint_of_uploads
from app.contracts.resources.facts import DatasetFacts, InputFacts, Layer, ModelFacts, OutputFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import AnyJob, DistillJob, InspectJob, PreflightJob, TrainJob
from app.contracts.specs.training import TrainingSpec
from tests.unit.runtime.test_sandbox import order_of
from workers.runtime.machine import machine_memory
from workers.runtime.supervisor import order as order_module
from workers.runtime.supervisor.order import with_memory_limit

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
MODEL = Mlp(family="mlp", input_shape=(23,), hidden=(), outputs={"y": 3})
TRAIN = TrainJob(kind="train", dataset=DATASET, model=MODEL)
MB = 1 << 20


GIB = 1 << 30


def estimate(
    spec: AnyJob, rows: int = 0, files_bytes: int = 0, threads: int = 0, models: Sequence[ModelFacts] = ()
) -> Footprint:
    facts = DatasetFacts(rows=rows, splits={}, inputs={"x": InputFacts(shape=(23,))}, targets={})
    return footprint(spec, [facts], models, files_bytes, threads)


def test_the_estimate_follows_files_rows_threads_weights_and_batches() -> None:
    """24 · 3 weights of 4 bytes, six times with Adam; 2 bytes for each of 2 · 23 · 3 FLOPs of 1024 rows or a batch."""
    inspection = estimate(InspectJob(dataset=DATASET), files_bytes=100)
    assert inspection == footprint_of_uploads(100) == Footprint(8 * GIB + 100, 600)
    trained = 24 * 3 * 4 * 6 + 2 * 1024 * 2 * 23 * 3
    assert estimate(TRAIN) == Footprint(8 * GIB, trained)
    assert estimate(PreflightJob(kind="preflight", job=TRAIN)) == Footprint(8 * GIB, trained)
    rows = 10 * 23 * 4
    assert estimate(TRAIN, rows=10) == Footprint(8 * GIB + rows, trained + 3 * rows)
    assert estimate(TRAIN, threads=2) == Footprint(8 * GIB + 2 * 144 * MB, trained)
    large = TRAIN.model_copy(update={"training": TrainingSpec(batch_size=4096)})
    assert estimate(large).memory - estimate(TRAIN).memory == 2 * (4096 - 1024) * 2 * 23 * 3


def test_the_estimate_follows_teachers_and_what_is_stored_of_them() -> None:
    """Of a network its FLOPs, of a graph 64 channels of its rows; stored are its outputs and the layers of terms."""
    outputs = {"y": OutputFacts(spec=ClassOutput(kind="class"), size=3)}
    graph = ModelFacts(
        architecture=None,
        input_shape=(23,),
        inputs={},
        outputs=outputs,
        parameters=None,
        layers=(Layer(name="h", kind="linear", shape=(50,)),),
    )
    spec = {"kind": "distill", "dataset": DATASET, "teachers": [{"model": TEACHER}], "student": MODEL.model_dump()}
    features = [{"method": "fitnets", "student_layer": "penultimate", "teacher_layer": "h"}]
    plain, deep = (
        DistillJob.model_validate_json(json.dumps({**spec, "distillation": terms}))
        for terms in ({}, {"features": features})
    )
    without = estimate(plain, rows=10)
    assert estimate(plain, rows=10, models=[graph]) == Footprint(
        without.addresses + 4 * 10 * 3, without.memory + 1024 * 4 * 64 * 23
    )
    assert estimate(deep, rows=10, models=[graph]).addresses == without.addresses + 4 * 10 * (3 + 50)
    network = graph.model_copy(update={"architecture": MODEL})
    assert estimate(plain, models=[network]).memory == estimate(plain).memory + 1024 * 2 * 2 * 23 * 3


def _limited(kind: str, folder: Path, room: float, **changes: object) -> int | None:
    (folder / "cache" / "inputs").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "inputs" / "own").write_bytes(b"12345")
    order = order_of(kind, folder).model_copy(update={"memory_bytes": None, **changes})
    return with_memory_limit(order, room).memory_bytes


def test_the_room_that_is_set_is_for_memory_and_not_for_libraries(tmp_path: Path) -> None:
    libraries = 8 * GIB + 144 * MB
    once, often = (_limited("training", tmp_path, room) for room in (1.0, 4.0))
    assert once is not None
    assert often == libraries + 5 + 4 * (once - libraries - 5)
    assert often < libraries + GIB, "a small job gets little more than its libraries"
    assert _limited("training", tmp_path, 0.0) is None


@pytest.mark.parametrize("kind", ["training", "inspection"])
def test_no_process_may_take_more_than_the_memory_of_the_machine_besides_libraries_and_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_module, "machine_memory", lambda: 7)
    limit = _limited(kind, tmp_path, 1000.0)
    assert limit is not None
    assert limit - 8 * GIB in (7 + 5, 7 + 5 + 144 * MB)


def test_the_memory_of_a_machine_is_that_of_its_container(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    everything = machine_memory(limit)
    assert 1 * GIB < everything < 1 << 50
    for text, expected in (("max\n", everything), ("1000\n", 1000)):
        limit.write_text(text)
        assert machine_memory(limit) == expected


def test_a_job_on_a_gpu_has_no_limit_of_addresses(tmp_path: Path) -> None:
    assert _limited("training", tmp_path, 4.0, device="cuda:0") is None


@pytest.mark.parametrize("room", [0.0, 4.0])
def test_an_inspection_is_always_limited(room: float, tmp_path: Path) -> None:
    assert _limited("inspection", tmp_path, room) == 8 * GIB + 5 + 6 * 5
