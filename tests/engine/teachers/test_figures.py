"""What jobs report of a teacher is measured once for a teacher and a dataset."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.engine.harness import SECOND, TEACHER, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.trained_jobs import DISTILL, ROWS, add_trained_teacher
from workers.engine.evaluation.cost import runtime
from workers.engine.evaluation.parties import remembered
from workers.engine.teachers import figures
from workers.engine.teachers.figures import TeacherFigures
from workers.engine.teachers.teacher import NetworkTeacher


class Passes:
    """Counts the rows that pass through teachers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        forward = NetworkTeacher.forward

        def counting(teacher: NetworkTeacher, x: Tensor) -> dict[str, Tensor]:
            self.rows += len(x)
            return forward(teacher, x)

        monkeypatch.setattr(NetworkTeacher, "forward", counting)

    def of(self, harness: EngineHarness, spec: dict[str, Any], job: str, **order: Any) -> tuple[int, dict[str, Any]]:
        """(rows through the teachers, the report as JSON) of a job."""
        self.rows = 0
        report = report_of(harness.run(spec, job, **order))
        return self.rows, json.loads(report.model_dump_json())


@pytest.fixture(autouse=True)
def _a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of a busy machine are not kept; tests run on one."""
    monkeypatch.setattr("workers.engine.evaluation.cost.latency.UNSTEADY", 1e9)


def of_teacher(report: dict[str, Any]) -> list[Any]:
    """Everything that the report says of its teachers."""
    robustness = {task: [each["parties"]["teacher"] for each in by] for task, by in report["robustness"].items()}
    return [report["teachers"], robustness, report["fidelity"].keys()]


def test_a_second_job_on_a_teacher_does_not_run_it(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    add_trained_teacher(harness, blobs(ROWS))
    passes = Passes(monkeypatch)
    first, report = passes.of(harness, DISTILL, "first")
    assert first > ROWS
    other = {**DISTILL, "student": {"family": "mlp", "hidden": [3]}, "training": {**DISTILL["training"], "seed": 9}}
    again, second = passes.of(harness, other, "second")
    assert again == 0
    assert of_teacher(second) == of_teacher(report)
    assert second["robustness"]["label"][0]["parties"].keys() == {"teacher", "student", "control"}


def test_another_teacher_other_weights_and_other_rows_are_measured_anew(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_trained_teacher(harness, blobs(ROWS), SECOND, seed=5)
    add_trained_teacher(harness, blobs(ROWS))
    passes = Passes(monkeypatch)
    both = [{"model": TEACHER}, {"model": SECOND}]
    alone = passes.of(harness, DISTILL, "alone")
    other = passes.of(harness, {**DISTILL, "teachers": [{"model": SECOND}]}, "other")
    assert other[0] > 0
    assert of_teacher(other[1]) != of_teacher(alone[1])
    equal = passes.of(harness, {**DISTILL, "teachers": both}, "equal")
    assert equal[0] > 0, "the mean of both on corrupted rows is new"
    weighted = [{"model": TEACHER, "weight": 3.0}, {"model": SECOND}]
    assert passes.of(harness, {**DISTILL, "teachers": weighted}, "weighted")[0] > 0
    assert passes.of(harness, {**DISTILL, "teachers": both}, "again")[0] == 0


def test_damaged_entries_are_measured_again(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    add_trained_teacher(harness, blobs(ROWS))
    passes = Passes(monkeypatch)
    first = passes.of(harness, DISTILL, "first")[1]
    for path in (harness.folder / "cache" / figures.FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    rows, second = passes.of(harness, DISTILL, "second")
    assert rows > 0
    assert second["robustness"] == first["robustness"]


def test_times_of_a_busy_machine_are_not_kept(tmp_path: Path) -> None:
    store, measured = TeacherFigures(tmp_path), iter(range(3))
    for expected in (0, 1):
        assert store.measured({"of": 1}, lambda: next(measured), lambda found: False) == expected
    assert store.measured({"of": 1}, lambda: next(measured)) == 2
    assert store.measured({"of": 1}, lambda: next(measured)) == 2


def test_the_oldest_figures_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MAX_ENTRIES", 2)
    store = TeacherFigures(tmp_path)
    for i in range(4):
        assert store.measured({"of": i}, partial(int, i)) == i
    assert len(list((tmp_path / figures.FOLDER).iterdir())) == 2


def test_outputs_for_test_rows_are_computed_once() -> None:
    asked: list[int] = []

    def outputs(rows: Tensor) -> dict[str, Tensor]:
        asked.append(len(rows))
        return {"label": rows.float()}

    test = torch.arange(100, 350)
    found = remembered(outputs, test, block=100)
    parts = [found(part)["label"] for part in torch.split(test, 100)]
    assert torch.equal(torch.cat(parts), found(test)["label"])
    assert torch.equal(found(test)["label"], test.float())
    assert asked == [100, 100, 50]
    assert torch.equal(found(torch.arange(5))["label"], torch.arange(5.0))
    assert torch.equal(found(torch.arange(0))["label"], torch.arange(0.0))


def test_times_of_other_threads_are_measured_anew(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's outputs are the same: its own passes have as many threads in both jobs."""
    add_trained_teacher(harness, blobs(ROWS))
    passes, two = Passes(monkeypatch), {**DISTILL, "training": {**DISTILL["training"], "teacher_threads": 2}}
    passes.of(harness, two, "one", threads=1)
    assert passes.of(harness, two, "again", threads=1)[0] == 0
    assert passes.of(harness, two, "two", threads=2)[0] > 0


def test_costs_in_runtimes_are_found_by_whatever_name_a_job_knows_the_teacher(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "peak_memory", lambda files: {each.party: 1000 for each in files})
    add_trained_teacher(harness, blobs(ROWS))
    harness.models[SECOND] = harness.models[TEACHER].model_copy(update={"id": SECOND})
    passes, spec = Passes(monkeypatch), {**DISTILL, "exports": ["onnx"]}
    first = passes.of(harness, spec, "first")[1]["teachers"][0]["runtime"]
    rows, second = passes.of(harness, {**spec, "teachers": [{"model": SECOND}]}, "second")
    assert rows == 0
    assert second["teachers"][0]["runtime"] == first
    assert first["onnxruntime"]["peak_memory_bytes"] == 1000


def test_what_could_not_be_measured_at_the_time_is_not_kept(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "peak_memory", lambda files: {})
    add_trained_teacher(harness, blobs(ROWS))
    passes, spec = Passes(monkeypatch), {**DISTILL, "exports": ["onnx"]}
    report = passes.of(harness, spec, "first")[1]
    assert "process" in report["not_measured"][f"runtime/{TEACHER}/peak_memory_bytes"]
    monkeypatch.setattr(runtime, "peak_memory", lambda files: {each.party: 1000 for each in files})
    report = passes.of(harness, spec, "second")[1]
    assert report["teachers"][0]["runtime"]["onnxruntime"]["peak_memory_bytes"] == 1000
