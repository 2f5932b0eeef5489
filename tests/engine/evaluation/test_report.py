"""Measured parts become a report: nothing lost, ratios right, unknown stays unknown."""

import json

import pytest

from app.contracts.reports.document.text import render
from app.contracts.reports.report import Environment, Latency, OnnxCheck, Report, TargetUse, Verdict
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.jobs import JOB_SPEC, DistillJob
from workers.engine.evaluation.evaluate import Evaluation
from workers.engine.evaluation.parties import EvaluatedTask, TaskTeacher
from workers.engine.evaluation.report import Cost, LearnerPart, ReportParts, TeacherPart, build_report, compression

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
LOGITS = ClassOutput(kind="class")


def latency(one: float, many: float) -> dict[str, Latency]:
    return {"1": Latency(median_ms=one, p95_ms=2 * one), "64": Latency(median_ms=many, p95_ms=2 * many)}


BIG = Cost(parameters=1000, bytes=4100, flops=2000, latency=latency(4.0, 40.0))
SMALL = Cost(parameters=50, bytes=410, flops=100, latency=latency(1.0, 4.0))
ENVIRONMENT = Environment(device="cpu (x86_64)", threads=1, versions={"torch": "2.13.0"}, precision="float32")


def spec() -> DistillJob:
    parsed = JOB_SPEC.validate_json(
        json.dumps(
            {
                "kind": "distill",
                "dataset": DATASET,
                "target": "digit",
                "teachers": [{"model": TEACHER, "weight": 0.7}, {"columns": "votes", "weight": 0.3}],
                "student": {"family": "mlp", "hidden": [4]},
            }
        )
    )
    assert isinstance(parsed, DistillJob)
    return parsed


def parts(*, columns: bool = True) -> ReportParts:
    entries = (
        TaskTeacher(TEACHER, 0.7, LOGITS, lambda rows: rows),
        TaskTeacher("votes", 0.3, LOGITS, lambda rows: rows),
    )
    known = (
        TeacherPart(TEACHER, "big net", BIG, model=TEACHER, digest="e" * 64),
        TeacherPart("votes", "votes"),
    )
    count = 2 if columns else 1
    metrics = ({"accuracy": 0.97, "auroc": None, "rows": 200.0}, {"accuracy": 0.9, "auroc": None, "rows": 200.0})
    return ReportParts(
        spec=spec(),
        tasks=(EvaluatedTask("digit", LOGITS, None, entries[:count]),),
        evaluation=Evaluation(
            student={"digit": {"accuracy": 0.95, "auroc": None, "rows": 200.0}},
            control={"digit": {"accuracy": 0.93, "auroc": None, "rows": 200.0}},
            teachers={"digit": metrics[:count]},
            verdict={
                "digit": Verdict(
                    verdict="inconclusive",
                    metric="accuracy",
                    student=0.95,
                    control=0.93,
                    difference=0.02,
                    margin=0.005,
                    interval=(-0.01, 0.05),
                    method="Accuracy, student - control.",
                )
            },
            not_measured={"size": "the dataset has no labels for `size`"},
        ),
        teachers=known[:count],
        student=LearnerPart(SMALL, epoch=3, steps=120, digest="f" * 64),
        control=LearnerPart(SMALL, epoch=4, steps=120, cached=True),
        environment=ENVIRONMENT,
        targets=(TargetUse(teacher="big net", store="hit", passes=0, rows=700, bytes=28_000),),
        export={"onnx": OnnxCheck(max_abs_difference=1e-7, tolerance=1e-4, rows=200, opset=18)},
        warnings=({"code": "class_order", "message": "classes 3 and 5 look swapped"},),
        not_measured={"validation": "the dataset has no validation split"},
        attempts=2,
        digests={"spec": "a" * 64},
        seconds={"training": 1.5},
    )


def test_teacher_student_and_control_stand_side_by_side() -> None:
    report = build_report(parts())
    assert [(party.name, party.task, party.weight, party.model) for party in report.teachers] == [
        ("big net", "digit", 0.7, TEACHER),
        ("votes", "digit", 0.3, None),
    ]
    assert [party.tasks["digit"]["accuracy"] for party in report.teachers] == [0.97, 0.9]
    assert report.teachers[1].parameters is None
    assert (report.student.steps, report.student.epoch, report.student.cached) == (120, 3, False)
    assert report.control is not None
    assert (report.control.steps, report.control.cached) == (120, True)
    assert report.control.tasks["digit"]["accuracy"] == 0.93
    assert report.not_measured == {
        "size": "the dataset has no labels for `size`",
        "validation": "the dataset has no validation split",
    }
    assert (report.kind, report.attempts, report.spec["target"]) == ("distill", 2, "digit")


def test_a_report_survives_json() -> None:
    report = build_report(parts())
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_compression_is_teacher_over_student() -> None:
    found = compression([BIG], SMALL)
    assert found is not None
    assert (found.parameters, found.bytes, found.flops) == (20.0, 10.0, 20.0)
    assert found.latency == {"1": 4.0, "64": 10.0}


def test_several_teachers_count_together() -> None:
    found = compression([BIG, BIG], SMALL)
    assert found is not None
    assert found.parameters == 40.0
    assert found.latency["1"] == pytest.approx(8.0)


def test_an_unknown_cost_gives_no_ratio() -> None:
    found = compression([BIG, Cost(bytes=100)], SMALL)
    assert found is not None
    assert (found.parameters, found.flops, found.latency) == (None, None, {})
    assert found.bytes == pytest.approx(4200 / 410)
    assert compression([], SMALL) is None


def test_a_teacher_of_two_tasks_is_listed_twice_and_weighed_once() -> None:
    entry = TaskTeacher("t", 1.0, LOGITS, lambda rows: rows)
    tasks = tuple(EvaluatedTask(name, LOGITS, None, (entry,)) for name in ("left", "right"))
    report = build_report(
        ReportParts(
            spec=spec(),
            tasks=tasks,
            evaluation=Evaluation(),
            teachers=(TeacherPart("t", "big", BIG),),
            student=LearnerPart(SMALL),
            environment=ENVIRONMENT,
        )
    )
    assert [party.task for party in report.teachers] == ["left", "right"]
    assert report.compression is not None
    assert report.compression.parameters == 20.0
    assert report.control is None


def test_the_text_shows_every_party_and_the_verdict() -> None:
    text = render(build_report(parts()).model_dump(mode="json"))
    for sentence in (
        "teacher big net",
        "teacher votes",
        "student",
        "control",
        "0.95",
        "verdict: inconclusive",
        "accuracy +0.0200 against the control",
        "95 % interval -0.0100 to +0.0500",
        "soft targets of big net: hit, 0 teacher passes",
        "classes 3 and 5 look swapped",
        "the dataset has no validation split",
        "onnx export",
        "torch 2.13.0",
    ):
        assert sentence in text, sentence
    assert max(len(line) for line in text.splitlines() if "  " in line) <= 120


def test_columns_of_the_text_line_up() -> None:
    text = render(build_report(parts(columns=False)).model_dump(mode="json"))
    head, *rows = text.split("\n\n")[1].splitlines()
    ends = [head.index(word) + len(word) for word in ("teacher big net", "student", "control")]
    for row in rows:
        assert len(row) == ends[-1]
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for end in ends)


def test_the_text_of_a_plain_training_needs_no_teacher_or_control() -> None:
    bare = ReportParts(
        spec=spec(), tasks=(), evaluation=Evaluation(), student=LearnerPart(SMALL), environment=ENVIRONMENT
    )
    text = render(build_report(bare).model_dump(mode="json"))
    assert "teacher" not in text
    assert "control" not in text
    assert "verdict" not in text
