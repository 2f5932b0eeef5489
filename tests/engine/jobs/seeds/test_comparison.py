"""Reports as the engine writes them are what `GET /v1/compare` reads."""

import pytest

from app.db.rows import JobRow
from app.http.errors import Invalid
from app.jobs.comparing.candidates import Candidate, candidate
from app.jobs.comparing.comparable import require_comparable
from app.jobs.comparing.tables import comparison_of
from tests.engine.harness import DATASET, EngineHarness, report_of
from tests.engine.jobs.distillation.method_specs import add_teachers, soft


def run(harness: EngineHarness, method: str, splits: int = 0, **changes: object) -> Candidate:
    """A job, with its dataset's rows as if they had been split by this seed."""
    report = report_of(harness.run(soft({"method": method}, **changes), method))
    manifest = {"splits": {"seed": splits}}
    return candidate(JobRow(id=method, spec=report.spec), report.model_dump_json(), {DATASET: manifest})


def test_jobs_that_differ_by_method_alone_have_one_control_and_other_students(harness: EngineHarness) -> None:
    add_teachers(harness)
    jobs = [run(harness, method, repeats=2) for method in ("kd", "dkd")]
    require_comparable(jobs)
    found = comparison_of(jobs, looks=2)
    assert found.controls.same
    assert found.controls.differs == ()
    task = found.tasks["label"]
    assert (task.metric, found.not_compared) == ("accuracy", {})
    assert {row.method.split()[0] for row in task.jobs} == {"kd", "dkd"}
    assert task.control is not None
    assert {row.control for row in task.jobs} == {task.control}
    for row in task.jobs:
        verdict = next(job.verdicts["label"] for job in jobs if job.id == row.job)
        assert row.uncorrected_interval == verdict.interval
        assert row.interval is not None
        assert verdict.interval is not None
        assert row.interval[0] <= verdict.interval[0]
        assert row.interval[1] >= verdict.interval[1]


def test_rows_that_were_split_otherwise_are_others(harness: EngineHarness) -> None:
    add_teachers(harness)
    jobs = [run(harness, "kd"), run(harness, "dkd", splits=1)]
    with pytest.raises(Invalid, match="same datasets"):
        require_comparable(jobs)
