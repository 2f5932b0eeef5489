"""The report's public names and figures, and its text, as files: a drift fails here and shows the difference.

`make golden` writes them anew. Outputs are drawn from seeds and costs are given, so that every machine agrees to the
five digits that are kept.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.reports.document.text import render
from app.contracts.reports.relation import GroupsProposal, RelationReport
from app.contracts.reports.report import (
    Environment,
    Latency,
    OnnxCheck,
    Report,
    RuntimeCost,
    TargetUse,
    ThreadsName,
)
from app.contracts.resources.manifests import ClassOutput, ValueOutput
from app.contracts.specs.jobs import JOB_SPEC, MultitaskJob
from tests.golden.files import held
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.evaluate import Networks, evaluate
from workers.engine.evaluation.parties import EvaluatedTask, Outputs, TaskTeacher
from workers.engine.evaluation.predictions import PredictionsFiles
from workers.engine.evaluation.report import Cost, LearnerPart, ReportParts, TeacherPart, build_report
from workers.engine.evaluation.verdict.baselines import against_baselines, baseline_report

TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
LOGITS, VALUE = ClassOutput(kind="class"), ValueOutput(kind="value", mean=20.0, std=4.0)
SPEC = {
    "kind": "multitask",
    "dataset": "ds_01890a5d-ac96-774b-bcce-b302099a8057",
    "tasks": [
        {"name": "digit", "teachers": [{"model": TEACHER, "weight": 2.0}, {"columns": "votes"}]},
        {"name": "size", "weight": 0.5},
        {"name": "ink"},
    ],
    "student": {"family": "mlp", "hidden": [16]},
    "baselines": True,
    "relation": {"matrix": [[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]]},
}


def noise(rows: int, size: int, seed: int) -> Tensor:
    """Standard normal numbers, drawn wide: float32 draws differ in bits between processors."""
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


def rows_of(values: dict[str, Tensor]) -> Outputs:
    return lambda part: {name: value[part] for name, value in values.items()}


def made(folder: Path) -> Report:
    """A combination: one task with two teachers, one without, one without labels; 400 test rows."""
    rows, labels = torch.arange(400), torch.arange(400) % 5
    truth = 20.0 + 4.0 * noise(400, 1, seed=1)
    widths = (("net", 0.6), ("votes", 0.9), ("student", 0.9), ("control", 1.6), ("baseline", 0.7))
    near = 2.0 * torch.nn.functional.one_hot(labels, 5)
    logits = {name: near + width * noise(400, 5, seed) for seed, (name, width) in enumerate(widths, start=2)}
    digit = TargetColumn(kind="class", size=5, values=labels, labelled=rows % 4 != 0)
    size = TargetColumn(kind="value", size=1, values=truth[:, 0], labelled=rows >= 0)
    tasks = (
        EvaluatedTask(
            "digit",
            LOGITS,
            digit,
            (
                TaskTeacher(TEACHER, 2.0, LOGITS, logits["net"].__getitem__),
                TaskTeacher("votes", 1.0, LOGITS, logits["votes"].__getitem__),
            ),
        ),
        EvaluatedTask("size", VALUE, size),
        EvaluatedTask("ink", VALUE, None),
    )

    def party(name: str, error: float) -> dict[str, Tensor]:
        return {"digit": logits[name], "size": (truth - 20.0) / 4.0 + error * noise(400, 1, 6), "ink": noise(400, 1, 7)}

    student, control, baseline = party("student", 0.5), party("control", 0.5001), party("baseline", 0.8)
    del baseline["ink"]
    with PredictionsFiles(folder) as file:
        outputs = [rows_of(values) for values in (student, control, baseline)]
        networks = Networks(outputs[:1], outputs[1:2], baselines=outputs[2:])
        evaluation = evaluate(tasks, networks, {"test": rows}, file)
    against = {
        task.name: against_baselines(
            task, [student[task.name]], [baseline[task.name]] if task.name in baseline else [], rows
        ).model_copy(update={"quality": evaluation.baselines.get(task.name, {})})
        for task in tasks
    }
    own: dict[str, object] = {"parameters": 1100, "epoch": 8, "steps": 240, "cached": True}
    against["size"] = against["size"].model_copy(update=own)
    spec = JOB_SPEC.validate_json(json.dumps(SPEC))
    assert isinstance(spec, MultitaskJob)
    small = Cost(
        parameters=1210,
        bytes=5400,
        flops=2400,
        latency=milliseconds(0.05, 0.2),
        runtime={"onnxruntime": in_onnx_runtime(0.01), "torch": RuntimeCost(latency={}, threads=2)},
        files={"safetensors": 5400, "onnx": 7100},
    )
    return build_report(
        ReportParts(
            spec=spec,
            tasks=tasks,
            evaluation=evaluation,
            teachers=(
                TeacherPart(
                    TEACHER,
                    "big net",
                    Cost(
                        parameters=85_000,
                        bytes=341_000,
                        flops=170_000,
                        latency=milliseconds(0.4, 2.0),
                        runtime={"onnxruntime": in_onnx_runtime(0.1)},
                    ),
                    model=TEACHER,
                    digest="e" * 64,
                ),
                TeacherPart("votes", "votes"),
            ),
            student=LearnerPart(small, epoch=7, steps=240, digest="f" * 64),
            control=LearnerPart(replace(small, runtime={}, files={}), epoch=9, steps=240, cached=True, digest="c" * 64),
            environment=Environment(
                device="cpu (x86_64)", threads=1, versions={"torch": "2.13.0"}, precision="float32"
            ),
            targets=(
                TargetUse(teacher="big net", store="miss", passes=11, rows=700, bytes=14_000, key="a" * 64),
                TargetUse(teacher="votes", store="columns", passes=0, rows=700, bytes=14_000),
            ),
            relation=RelationReport(
                tasks=("left", "right", "total"),
                source="given",
                apply="rows",
                matrix=((0.8, 0.2, 0.0), (0.2, 0.8, 0.0), (0.0, 0.0, 1.0)),
                method="gradient_cosine",
                measured=50,
                cosine=((1.0, 0.3, -0.1), (0.3, 1.0, None), (-0.1, None, 1.0)),
                conflicts=((0.0, 0.1, 0.7), (0.1, 0.0, None), (0.7, None, 0.0)),
                norms=(0.5, 0.25, 1.5),
                grouping=GroupsProposal(groups=(("left", "right"), ("total",))),
            ),
            baselines=baseline_report(against),
            export={"onnx": OnnxCheck(max_abs_difference=2.4e-7, tolerance=1e-4, rows=400, opset=18)},
            warnings=({"code": "no_validation", "message": "the last epoch's weights are exported"},),
            digests={"dataset": "d" * 64, "student": "f" * 64},
            seconds={"training": 1.5, "evaluating": 0.5},
        )
    )


def milliseconds(one: float, many: float) -> dict[str, Latency]:
    return {"1": Latency(median_ms=one, p95_ms=2 * one), "64": Latency(median_ms=many, p95_ms=2 * many)}


def in_onnx_runtime(one: float) -> RuntimeCost:
    latency: dict[ThreadsName, dict[str, Latency]] = {
        "1": milliseconds(one, 3 * one),
        "all": milliseconds(one, 2 * one),
    }
    return RuntimeCost(latency=latency, threads=2, cold_start_ms=2.0, peak_memory_bytes=9_000_000, bytes=7100)


def rounded(value: Any) -> Any:
    """Five significant digits: what every machine agrees on."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = rounded(made(tmp_path_factory.mktemp("report")).model_dump(mode="json"))
    return found


def test_the_report_is_the_golden_one(report: dict[str, Any]) -> None:
    held("report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def test_the_reports_text_is_the_golden_one(report: dict[str, Any]) -> None:
    held("report.txt", render(report))
