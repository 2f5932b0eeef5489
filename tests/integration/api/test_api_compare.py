"""`GET /v1/compare`: all jobs against one control, corrected for their number and for the looks at the test split."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from scipy import stats

from app.contracts.resources.facts import DatasetFacts
from app.contracts.wire.orders import InspectionOutcome
from tests.integration.api.harness import DATASET, DATASET_FACTS, ApiHarness, npz, safetensors

STUDENT: dict[str, Any] = {"family": "mlp", "hidden": [3]}
FREEDOM = 4.0
ERROR = 0.01
OTHER_SPLITS = {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "seed": 7}


def verdict(student: float, **changes: Any) -> dict[str, Any]:
    """Three students against three controls of 90 %, with a standard error of a point."""
    difference, half = student - 0.9, float(stats.t.ppf(0.975, FREEDOM)) * ERROR
    interval = (difference - half, difference + half)
    return {
        "verdict": "gain" if interval[0] > 0 else "loss" if interval[1] < 0 else "inconclusive",
        "metric": "accuracy",
        "student": student,
        "control": 0.9,
        "difference": difference,
        "margin": 0.005,
        "interval": interval,
        "standard_error": ERROR,
        "freedom": FREEDOM,
        "repeats": 3,
        "method": "Accuracy.",
        **changes,
    }


class Project:
    """Jobs that have succeeded on a dataset, with reports as a worker writes them."""

    def __init__(self, harness: ApiHarness, dataset: str, teacher: str) -> None:
        self.harness = harness
        self.dataset = dataset
        self.teacher = teacher

    def spec(self, **changes: Any) -> dict[str, Any]:
        return {
            "kind": "distill",
            "dataset": self.dataset,
            "target": "digit",
            "teachers": [{"model": self.teacher}],
            "student": STUDENT,
            "distillation": {"soft_targets": {"method": "kd", "temperature": 2.0, "weight": 0.5}},
            **changes,
        }

    async def judged(
        self,
        verdicts: Mapping[str, Any] | None = None,
        *,
        control: bool = True,
        file: bytes | None = None,
        used: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> str:
        """The id of a job whose report has these verdicts; `used`: the distillation of its report's spec."""
        document = self.spec(**spec)
        job = await self.harness.submit(document)
        report = {
            "kind": document["kind"],
            "student": {"name": "student"},
            "control": {"name": "control"} if control else None,
            "verdict": verdicts or {},
            "digests": {f"dataset/{document['dataset']}": hashlib.sha256(file or npz()).hexdigest()},
        }
        if used is not None:
            report["spec"] = document | {"distillation": used}
        await self.harness.succeed(await self.harness.begin(), safetensors(), report=report)
        return str(job["id"])

    async def with_accuracy(self, student: float, **spec: Any) -> str:
        return await self.judged({"digit": verdict(student)}, **spec)

    async def compare(self, *jobs: str) -> dict[str, Any]:
        return await self.harness.get(f"/v1/compare?jobs={','.join(jobs)}")

    async def refused(self, *jobs: str) -> tuple[int, str]:
        """Status and code of the error."""
        answer = await self.harness.http.get(f"/v1/compare?jobs={','.join(jobs)}")
        return answer.status_code, answer.json()["code"]


async def a_project(harness: ApiHarness) -> Project:
    return Project(harness, await harness.ready_dataset(), await harness.ready_model())


async def another_dataset(harness: ApiHarness, file: bytes, **manifest: Any) -> str:
    dataset = await harness.upload("datasets", DATASET | manifest, file)
    await harness.inspect(InspectionOutcome(dataset=DatasetFacts.model_validate(DATASET_FACTS.model_dump())))
    return str(dataset["id"])


async def test_all_jobs_are_ranked_against_one_control_and_corrected_for_their_number(harness: ApiHarness) -> None:
    project = await a_project(harness)
    worst, best, middle = [await project.with_accuracy(each, name=f"job {each}") for each in (0.88, 0.98, 0.935)]
    found = await project.compare(worst, best, middle)
    assert (found["object"], found["compared"], found["looks"]) == ("comparison", 3, 3)
    assert (found["controls"]["same"], found["controls"]["differs"]) == (True, [])
    task = found["tasks"]["digit"]
    assert (task["metric"], task["control"]) == ("accuracy", 0.9)
    rows = task["jobs"]
    assert [(row["rank"], row["job"], row["name"]) for row in rows] == [
        (1, best, "job 0.98"),
        (2, middle, "job 0.935"),
        (3, worst, "job 0.88"),
    ]
    assert [(row["uncorrected"], row["verdict"]) for row in rows] == [
        ("gain", "gain"),
        ("gain", "inconclusive"),
        ("inconclusive", "inconclusive"),
    ]
    half = float(stats.t.ppf(1 - 0.05 / 6, FREEDOM)) * ERROR
    assert rows[0]["interval"] == pytest.approx([0.08 - half, 0.08 + half])
    assert rows[0]["method"] == "kd (weight 0.5, temperature 2)"
    assert "Bonferroni" in found["method"]


async def test_the_weights_are_those_that_were_used(harness: ApiHarness) -> None:
    """A teacher that proves weaker than the control gets less weight than the job was resolved with."""
    project = await a_project(harness)
    used = {"soft_targets": {"method": "kd", "temperature": 2.0, "weight": 0.1}, "supervised": {"weight": 0.9}}
    weak = await project.judged({"digit": verdict(0.93)}, used=used)
    usual = await project.with_accuracy(0.98)
    rows = (await project.compare(weak, usual))["tasks"]["digit"]["jobs"]
    assert [row["method"] for row in rows] == ["kd (weight 0.5, temperature 2)", "kd (weight 0.1, temperature 2)"]


async def test_a_single_pair_stays_provisional(harness: ApiHarness) -> None:
    project = await a_project(harness)
    pair = {"repeats": 1, "freedom": None, "standard_error": None, "interval": (0.05, 0.11)}
    one = await project.judged({"digit": verdict(0.98, **pair, verdict="provisional_gain")})
    other = await project.judged({"digit": verdict(0.98, **pair | {"interval": (0.005, 0.155)}, verdict="gain")})
    rows = (await project.compare(one, other))["tasks"]["digit"]["jobs"]
    assert [row["rank"] for row in rows] == [1, 1]
    words = {row["job"]: (row["uncorrected"], row["verdict"]) for row in rows}
    assert words == {one: ("provisional_gain", "provisional_gain"), other: ("provisional_gain", "undecided")}


async def test_every_job_that_trained_on_the_same_file_is_a_look_and_widens_its_own_interval(
    harness: ApiHarness,
) -> None:
    project = await a_project(harness)
    jobs = [await project.with_accuracy(each) for each in (0.94, 0.95)]
    before = await project.compare(*jobs)
    assert before["looks"] == 2
    assert all(row["interval_for_looks"] == row["interval"] for row in before["tasks"]["digit"]["jobs"])
    copy = await another_dataset(harness, npz(), splits=OTHER_SPLITS)
    await project.judged(dataset=copy)
    train = {"kind": "train", "dataset": project.dataset, "model": STUDENT}
    await harness.submit(train)
    await harness.succeed(await harness.begin(), safetensors())
    await harness.submit(train)
    await harness.fail(await harness.begin())
    await project.judged(dataset=await another_dataset(harness, npz("x", "digit", "more")))
    found = await project.compare(*jobs)
    assert found["looks"] == 4
    half = float(stats.t.ppf(1 - 0.05 / 8, FREEDOM)) * ERROR
    best = found["tasks"]["digit"]["jobs"][0]
    assert best["interval_for_looks"] == pytest.approx([0.05 - half, 0.05 + half])
    assert best["interval"] == before["tasks"]["digit"]["jobs"][0]["interval"]
    dry = await harness.http.post("/v1/jobs?dry_run=true", json=project.spec())
    assert dry.json()["test_looks"] == 4


async def test_jobs_with_other_settings_are_compared_with_their_own_controls(harness: ApiHarness) -> None:
    project = await a_project(harness)
    one = await project.with_accuracy(0.94)
    seeds = await project.with_accuracy(0.95, training={"seed": 1})
    assert (await project.compare(one, seeds))["controls"]["same"]
    verdicts = {"digit": verdict(0.96, control=0.93, difference=0.03)}
    wider = {"family": "mlp", "hidden": [5]}
    other = await project.judged(verdicts, student=wider, training={"learning_rate": 0.01})
    found = await project.compare(one, other)
    assert found["controls"]["same"] is False
    assert found["controls"]["differs"] == ["/student/hidden/0", "/training/learning_rate"]
    assert "its own control" in found["controls"]["because"]
    task = found["tasks"]["digit"]
    assert task["control"] is None
    assert [(row["job"], row["control"]) for row in task["jobs"]] == [(other, 0.93), (one, 0.9)]


async def test_the_lowest_error_is_best_and_has_no_limit_of_1(harness: ApiHarness) -> None:
    project = await a_project(harness)
    errors = {"metric": "rmse", "control": 9.0, "interval": (-3.0, 4.0)}
    jobs = [
        await project.judged({"digit": verdict(each, **errors, difference=9.0 - each, verdict="inconclusive")})
        for each in (8.9, 8.5)
    ]
    rows = (await project.compare(*jobs))["tasks"]["digit"]["jobs"]
    assert [(row["rank"], row["student"]) for row in rows] == [(1, 8.5), (2, 8.9)]
    assert rows[0]["interval"][0] < -3.0


async def test_a_task_without_labels_is_left_out_with_its_reason(harness: ApiHarness) -> None:
    project = await a_project(harness)
    tasks = [{"name": "a", "target": "digit"}, {"name": "b", "target": "digit"}]
    spec = {"kind": "multitask", "dataset": project.dataset, "tasks": tasks, "student": STUDENT}
    none = {"verdict": "not_applicable", "method": "Not judged: no test row has a label."}
    jobs = []
    for student in (0.92, 0.98):
        job = await harness.submit(spec)
        digests = {f"dataset/{project.dataset}": hashlib.sha256(npz()).hexdigest()}
        report = {"verdict": {"a": verdict(student), "b": none}, "control": {}, "digests": digests}
        await harness.succeed(await harness.begin(), safetensors(), report=report)
        jobs.append(str(job["id"]))
    found = await project.compare(*jobs)
    assert list(found["tasks"]) == ["a"]
    assert found["not_compared"] == {"b": "job 1: Not judged: no test row has a label."}
    assert found["tasks"]["a"]["jobs"][0]["method"] == "labels"
    assert await project.refused(jobs[0], await project.with_accuracy(0.9)) == (422, "tasks_differ")


async def test_jobs_that_cannot_be_compared_are_refused_each_by_its_code(harness: ApiHarness) -> None:
    project = await a_project(harness)
    one, two = await project.with_accuracy(0.94), await project.with_accuracy(0.95)
    assert await project.refused(one) == (400, "invalid_parameter")
    assert await project.refused(one, one) == (400, "duplicate_name")
    assert await project.refused(one, two, "") == (400, "invalid_parameter")
    assert await project.refused(one, *map(str, range(20))) == (400, "invalid_parameter")
    assert await project.refused(one, "job_none") == (404, "unknown_job")
    without = await project.judged({"digit": verdict(0.9)}, control=False)
    assert await project.refused(one, without) == (422, "no_control")
    other_metric = await project.judged({"digit": verdict(0.9, metric="rmse")})
    assert await project.refused(one, other_metric) == (422, "metrics_differ")
    unjudged = [
        await project.judged({"digit": {"verdict": "not_applicable", "method": "Not judged."}}) for _ in range(2)
    ]
    assert await project.refused(*unjudged) == (422, "nothing_to_compare")
    split = await project.with_accuracy(0.9, dataset=await another_dataset(harness, npz(), splits=OTHER_SPLITS))
    assert await project.refused(one, split) == (422, "datasets_differ")
    await harness.submit({"kind": "train", "dataset": project.dataset, "model": STUDENT})
    claim = await harness.begin()
    await harness.succeed(claim, safetensors())
    assert await project.refused(one, claim.job_id) == (422, "no_verdict")
    job = await harness.submit(project.spec())
    assert await project.refused(one, job["id"]) == (409, "not_finished")
    await harness.fail(await harness.begin())
    assert await project.refused(one, job["id"]) == (409, "not_succeeded")


async def test_a_copy_of_the_dataset_has_the_same_test_rows(harness: ApiHarness) -> None:
    project = await a_project(harness)
    one = await project.with_accuracy(0.94)
    copy = await another_dataset(harness, npz(), name="again", metadata={"note": "a copy"})
    assert (await project.compare(one, await project.with_accuracy(0.95, dataset=copy)))["compared"] == 2
