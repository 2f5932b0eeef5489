"""Memory that runs out: recovered once, with the gradient of the whole batch, and never in silence.

The limit is a real one, on the address space of a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx import helper

from app.contracts.problems import UserError
from app.contracts.reports.report import Report
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import EngineHarness, StopAtStep
from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, onnx_manifest, value
from tests.engine.jobs.inspection.unbounded_graphs import numbers_by_value
from tests.engine.jobs.interrupted_jobs import PHASES
from tests.engine.jobs.runs.limited_memory import BATCH, TRAIN, harness
from tests.engine.plain_training import others
from workers.engine.common.files import write_document
from workers.engine.common.memory import is_out_of_memory
from workers.engine.common.stop import Stopped
from workers.engine.teachers.teacher import OnnxTeacher

ENOUGH_FOR_HALF = 125
"""Megabytes: a tensor of a batch has 64, of which a step needs three. Some 20 are left of the warm-up job."""
HALVED: dict[str, Any] = TRAIN | {"training": TRAIN["training"] | {"micro_batch_size": BATCH // 2}}
BATCH_NORM: dict[str, Any] = TRAIN | {"model": TRAIN["model"] | {"normalization": "batch"}}
TOO_MUCH: dict[str, Any] = TRAIN | {"model": TRAIN["model"] | {"hidden": [16384]}}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The outcome of each job in the process with limited memory."""
    specs = {"plain": TRAIN, "batch norm": BATCH_NORM, "too much": TOO_MUCH}
    command = [sys.executable, "-m", "tests.engine.jobs.runs.limited_memory"]
    arguments = [str(tmp_path_factory.mktemp("short")), json.dumps(list(specs.values())), str(ENOUGH_FOR_HALF)]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[4], timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(specs, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return harness(tmp_path_factory.mktemp("roomy"))


def test_it_is_recovered_with_half_the_micro_batch_to_the_bits_of_a_job_that_asked_for_it(
    outcomes: dict[str, dict[str, Any]], roomy: EngineHarness
) -> None:
    report = Report.model_validate(outcomes["plain"]["report"])
    assert report.micro_batch_size == BATCH // 2
    assert report.exact_accumulation
    assert report.bit_exact
    assert "smaller_micro_batches" in outcomes["plain"]["warnings"]
    assert others(warning["code"] for warning in report.warnings) == ["smaller_micro_batches"]
    roomy.run(HALVED, "asked")
    assert outcomes["plain"]["sha256"] == roomy.digest("asked")


def test_a_student_with_batch_norm_is_not_divided_unasked(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["batch norm"]["code"] == "out_of_memory"
    message = outcomes["batch norm"]["message"]
    assert "BatchNorm takes its statistics from each micro-batch" in message
    assert f"for the activations of {BATCH} rows" in message
    assert "training.micro_batch_size" in message


def test_the_second_time_the_error_names_what_is_needed(outcomes: dict[str, dict[str, Any]]) -> None:
    assert outcomes["too much"]["code"] == "out_of_memory"
    assert f"{BATCH // 2} rows" in outcomes["too much"]["message"]
    assert "bytes for weights, gradients and optimizer" in outcomes["too much"]["message"]


def test_later_attempts_train_with_what_the_job_came_down_to(roomy: EngineHarness) -> None:
    """The size is beside the checkpoints; an attempt that has room for more goes on with it, to the same bits."""
    roomy.run(HALVED, "reference")
    checkpoints = roomy.folder / "later" / "checkpoints"
    checkpoints.mkdir(parents=True)
    write_document(checkpoints / "memory.json", {"micro_batch_size": BATCH // 2, "together": True})
    with pytest.raises(Stopped):
        roomy.run(TRAIN, "later", 1, StopAtStep(PHASES + 2))
    report = Report.model_validate(roomy.run(TRAIN, "later", 2).report)
    assert others(roomy.log.warnings) == ["smaller_micro_batches"]
    assert (report.micro_batch_size, report.bit_exact) == (BATCH // 2, True)
    assert roomy.digest("later", 2) == roomy.digest("reference")


def test_a_job_that_came_down_after_some_steps_is_not_called_bit_exact(roomy: EngineHarness) -> None:
    with pytest.raises(Stopped):
        roomy.run(TRAIN, "midway", 1, StopAtStep(PHASES + 2))
    memory = roomy.folder / "midway" / "checkpoints" / "memory.json"
    write_document(memory, {"micro_batch_size": BATCH // 2, "together": True})
    report = Report.model_validate(roomy.run(TRAIN, "midway", 2).report)
    assert (report.micro_batch_size, report.bit_exact) == (BATCH // 2, False)


def test_what_the_cpu_says_is_understood_and_nothing_else_is() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_what_onnx_runtime_says_of_a_teacher_is_understood(tmp_path: Path) -> None:
    """The teacher was inspected as a plain graph, and makes as many numbers as its largest one says."""
    plain = helper.make_node("Identity", ["x"], ["y"])
    facts = inspected(graph(plain, outputs=[value("y", ["n", 4])]), tmp_path)
    path = tmp_path / "by_value.onnx"
    path.write_bytes(numbers_by_value().SerializeToString())
    model = ModelInput(id="m", manifest=onnx_manifest(), facts=facts, path=str(path), sha256="")
    teacher = OnnxTeacher(model, torch.device("cpu"), 1)
    assert teacher.predict(torch.full((2, 4), 3.0))["y"].shape == (2, 4)
    with pytest.raises(MemoryError, match="the graph of teacher `m`, 2 rows"):
        teacher.predict(torch.full((2, 4), 1e17))
    with pytest.raises(UserError) as caught:
        teacher.predict(torch.full((2, 4), -1.0))
    assert caught.value.code == "teacher_failed"


@pytest.mark.gpu
def test_what_cuda_says_is_understood() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    with pytest.raises(torch.OutOfMemoryError) as refused:
        torch.empty(1 << 45, device="cuda")
    assert is_out_of_memory(refused.value)
