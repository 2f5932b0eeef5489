"""Which teachers `compare=teacher` asks, and how their answers compare."""

import json
from typing import Any

import pytest

from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import ValueOutput
from app.contracts.specs.jobs import ANY_SPEC
from app.contracts.states import JobState
from app.contracts.wire.predictions import TaughtOutput
from app.db.engine import Database
from app.db.ids import new_id
from app.db.rows import JobRow, ModelRow
from app.models.predictions.compare import agreement
from app.models.predictions.schemas import TaskPrediction
from app.models.predictions.teachers import teachers_of
from tests.integration.predictions.conftest import PredictionHarness
from tests.integration.worker.entries import STUDENT_FACTS

DATASET = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
GONE = "mdl_01890a5d-ac96-774b-bcce-b302099a8057"


async def job_of(database: Database, trained: str, **spec: Any) -> ModelRow:
    """Have a job of this spec train a model."""
    parsed = ANY_SPEC.validate_json(json.dumps({"dataset": DATASET, **spec}))
    job = JobRow(id=new_id("job"), kind=parsed.kind, lane="train", state=JobState.SUCCEEDED, student_id=trained,
                 spec=parsed.model_dump(mode="json"))  # fmt: skip
    async with database.write() as session:
        session.add(job)
        row = await session.get_one(ModelRow, trained)
        row.source_job_id = job.id
    return row


async def test_each_teacher_of_each_task_is_found_or_says_why_not(small: PredictionHarness) -> None:
    student, first, second = await small.model(), await small.model("first"), await small.model("second")
    two = {"digit": STUDENT_FACTS.outputs["digit"], "size": OutputFacts(spec=ValueOutput(kind="value"), size=1)}
    async with small.database.write() as session:
        row = await session.get_one(ModelRow, second)
        row.facts = STUDENT_FACTS.model_copy(update={"outputs": two}).model_dump(mode="json")
    earlier = await job_of(small.database, second, kind="train", model={"family": "mlp"})
    model: dict[str, Any] = {"family": "mlp", "hidden": [4]}
    of_size = [{"job": earlier.source_job_id}, {"model": second, "output": "digit"}, {"model": GONE}]
    tasks = [
        {"name": "digit", "teachers": [{"model": first, "weight": 0.25, "classes": [1, 0]}, {"columns": "old"}]},
        {"name": "size", "teachers": of_size},
        {"name": "alone"},
    ]
    row = await job_of(small.database, student, kind="multitask", tasks=tasks, student=model)
    async with small.database.read() as session:
        found = await teachers_of(session, row)
        assert await teachers_of(session, earlier) == []
        uploaded = await session.get_one(ModelRow, first)
        assert await teachers_of(session, uploaded) == []
    assert [(each.task, each.model, each.ref.weight) for each in found] == [
        ("digit", first, 0.25), ("digit", None, 1.0), ("size", second, 1.0), ("size", second, 1.0), ("size", None, 1.0),
    ]  # fmt: skip
    assert [each.taught for each in found] == [
        TaughtOutput(task="digit", output="digit", classes=(1, 0)),
        None,
        TaughtOutput(task="size", output="size"),
        TaughtOutput(task="size", output="digit"),
        None,
    ]
    assert [each.missing.code for each in found if each.missing] == ["columns_only", "teacher_deleted"]


@pytest.mark.parametrize(
    ("mine", "other", "same", "difference"),
    [
        (
            {"class": ["a", "b"], "probabilities": [[0.75, 0.25], [0.25, 0.75]]},
            {"class": ["a", "a"], "probabilities": [[0.5, 0.5], [1.0, 0.0]]},
            0.5,
            0.5,
        ),
        (
            {"labels": [[1, 0], [1, 1]], "probabilities": [[0.75, 0.25], [0.75, 0.75]]},
            {"labels": [[1, 1], [1, 1]], "probabilities": [[0.75, 0.75], [0.75, 0.75]]},
            0.75,
            0.125,
        ),
        ({"value": [1.0, 2.0]}, {"value": [1.5, 1.0]}, None, 0.75),
        ({"vector": [[1.0, 2.0]]}, {"vector": [[1.0, 4.0]]}, None, 1.0),
    ],
    ids=["classes", "labels", "values", "vectors"],
)
def test_answers_of_every_kind_are_compared(mine: Any, other: Any, same: float | None, difference: float) -> None:
    found = agreement(TaskPrediction.model_validate(mine), TaskPrediction.model_validate(other))
    assert (found.same, found.mean_difference) == (same, difference)
    assert agreement(TaskPrediction.model_validate(mine), TaskPrediction.model_validate(mine)).mean_difference == 0.0
