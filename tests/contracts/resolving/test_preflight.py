"""A preflight is resolved as the job that it looks at; what is wrong with that lies below `/job`."""

import json
from typing import Any

import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.resources.facts import DatasetFacts, InputFacts, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.jobs import ANY_SPEC, JOB_SPEC, DistillJob, PreflightJob
from app.http.errors import Invalid
from app.http.validation import parse_as
from app.jobs.submission import dry_run
from app.queue.submission import inputs_of_spec

DS = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
TEACHER = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"
JOB = "job_01890a5d-ac96-774b-bcce-b302099a8057"
SPLITS: dict[Any, int] = {"train": 70, "validation": 15, "test": 15}
DATASET = DatasetFacts(
    rows=100,
    splits=SPLITS,
    inputs={"x": InputFacts(shape=(64,))},
    targets={"digit": TargetFacts(kind="class", size=10, labelled=SPLITS)},
)
MODEL = ModelFacts(
    architecture=None,
    input_shape=(64,),
    inputs={},
    outputs={"digit": OutputFacts(spec=ClassOutput(kind="class"), size=10)},
    parameters=1000,
)
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "dataset": DS,
    "teachers": [{"model": TEACHER}],
    "student": {"family": "mlp", "hidden": [16]},
}


def parsed(**job: Any) -> PreflightJob:
    spec = JOB_SPEC.validate_json(json.dumps({"kind": "preflight", "job": DISTILL | job}))
    assert isinstance(spec, PreflightJob)
    return spec


def resolved(models: dict[str, ModelFacts | None] | None = None, **job: Any) -> Resolution:
    return resolve(parsed(**job), {DS: DATASET}, {TEACHER: MODEL} if models is None else models, threads=2)


def test_the_job_of_a_preflight_is_resolved_as_it_would_be_by_itself() -> None:
    spec = resolved().spec
    assert isinstance(spec, PreflightJob)
    assert isinstance(spec.job, DistillJob)
    alone = resolve(JOB_SPEC.validate_json(json.dumps(DISTILL)), {DS: DATASET}, {TEACHER: MODEL}, threads=2)
    assert spec.job == alone.spec
    assert (spec.job.target, spec.job.training.steps, spec.threads) == ("digit", 1500, 1)


def test_resolving_a_preflight_twice_changes_nothing() -> None:
    once = resolved().spec
    stored = ANY_SPEC.validate_json(json.dumps(once.model_dump(mode="json")))
    assert isinstance(stored, PreflightJob)
    assert resolve(stored, {DS: DATASET}, {TEACHER: MODEL}, threads=7).spec == once


def test_problems_are_reported_below_the_job() -> None:
    found = resolved(target="colour", training={"early_stopping": {}, "batch_size": 8})
    assert [(problem.pointer, problem.code) for problem in found.problems] == [("/job/target", "unknown_target")]


def test_an_unknown_input_leaves_the_resolution_open() -> None:
    found = resolved({JOB: None}, teachers=[{"job": JOB}])
    assert not found.complete
    assert not found.problems


def test_warnings_of_the_job_travel_with_it() -> None:
    bare = DATASET.model_copy(update={"targets": {}})
    found = resolve(parsed(), {DS: bare}, {TEACHER: MODEL}, threads=2)
    assert {"no_labels", "no_control"} <= {warning["code"] for warning in found.warnings}


@pytest.mark.parametrize(
    ("spec", "pointer", "code"),
    [
        ({"kind": "preflight"}, "/job", "missing"),
        ({"kind": "preflight", "job": {"kind": "preflight", "job": DISTILL}}, "/job", "unknown_value"),
        ({"kind": "preflight", "job": {"kind": "inspect", "model": TEACHER}}, "/job", "unknown_value"),
        ({"kind": "preflight", "job": DISTILL, "dataset": DS}, "/dataset", "unknown_field"),
        (
            {"kind": "preflight", "job": DISTILL | {"student": {"family": "mlp", "hidden": [0]}}},
            "/job/student/hidden/0",
            "out_of_range",
        ),
    ],
)
def test_what_is_no_preflight_is_refused_by_place(spec: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_as(JOB_SPEC, json.dumps(spec).encode())
    assert [(problem.pointer, problem.code) for problem in caught.value.problems or ()] == [(pointer, code)]


def test_every_input_of_the_job_is_one_of_the_preflight() -> None:
    spec = parsed(teachers=[{"model": TEACHER}, {"job": JOB}])
    assert [(ref.pointer, ref.identity) for ref in spec.references()] == [
        ("/job/dataset", DS),
        ("/job/teachers/0/model", TEACHER),
        ("/job/teachers/1/job", JOB),
    ]
    assert inputs_of_spec(spec) == inputs_of_spec(spec.job)
    assert len(inputs_of_spec(spec)) == 3


def test_a_dry_run_of_a_preflight_counts_the_student_of_its_job() -> None:
    found = dry_run(resolved())
    assert isinstance(found.spec, PreflightJob)
    assert found.parameters == 64 * 16 + 16 + 16 * 10 + 10
    assert found.flops == 2 * (64 * 16 + 16 * 10)
