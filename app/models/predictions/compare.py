"""`?compare=teacher`: a student and its teachers on the same rows, side by side."""

from collections.abc import Iterable, Sequence

from sqlalchemy import select

from app.contracts.wire.predictions import Question, RowsFormat
from app.db.rows import ModelRow
from app.http.errors import Conflict
from app.http.services import Caller, Services
from app.models.predictions.schemas import (
    Agreement,
    NotAnswered,
    Prediction,
    TaskPrediction,
    TeacherPrediction,
)
from app.models.predictions.service import body_of
from app.models.predictions.teachers import TeacherOfTask, teachers_of
from app.queue.predictions.records import Answered, NewPrediction


async def compare(services: Services, caller: Caller, model: str, fmt: RowsFormat, body: bytes) -> Prediction:
    """The answers of a student and of the teachers of its job.

    Raises Conflict where it had no teacher, and ApiError as the student's answer does. A teacher that does not answer
    says why in its place.
    """
    async with services.database.read() as session:
        row = (await session.scalars(select(ModelRow).where(ModelRow.id == model))).one()
        teachers = await teachers_of(session, row)
    if not teachers:
        raise Conflict(
            "not_distilled", "expected a student of teachers, and this model was trained without: leave `compare` out"
        )
    keys = {str(place): each for place, each in enumerate(teachers) if each.taught is not None}
    asked = list(dict.fromkeys(each.model for each in keys.values() if each.model is not None))
    questions = [Question(model=model, format=fmt), *(_question(one, model, fmt, keys) for one in asked)]
    new = [NewPrediction(caller.project_id, question, body) for question in questions]
    own, *others = await services.predictions.ask(new)
    student = Prediction.model_validate_json(body_of(services, own))
    answers = dict(zip(asked, others, strict=True))
    found = [_teacher(str(place), each, answers, student) for place, each in enumerate(teachers)]
    return student.model_copy(update={"teachers": tuple(found)})


def _question(teacher: str, student: str, fmt: RowsFormat, keys: dict[str, TeacherOfTask]) -> Question:
    """All that one model taught, asked at once."""
    taught = {key: each.taught for key, each in keys.items() if each.model == teacher and each.taught is not None}
    return Question(model=teacher, format=fmt, rows_of=student, taught=taught)


def _teacher(
    key: str, teacher: TeacherOfTask, answers: dict[str, Answered | None], student: Prediction
) -> TeacherPrediction:
    answer, missing = None, teacher.missing
    if teacher.model is not None:
        found = answers[teacher.model]
        if found is None:
            missing = NotAnswered(code="prediction_timeout", message="no answer in time: send the request again later")
        elif found.reply.status != 200:
            missing = NotAnswered(code=found.reply.code, message=found.reply.detail)
        else:
            answer = Prediction.model_validate_json(found.body).outputs[key]
    return TeacherPrediction(
        task=teacher.task,
        model=teacher.model,
        output=None if teacher.taught is None else teacher.taught.output,
        weight=teacher.ref.weight,
        answer=answer,
        agreement=None if answer is None else agreement(student.outputs[teacher.task], answer),
        not_answered=missing,
    )


def agreement(student: TaskPrediction, teacher: TaskPrediction) -> Agreement:
    """How two answers of the same kind to the same rows compare."""
    pairs = [
        (mine, other)
        for mine, other in (
            (student.probabilities, teacher.probabilities),
            (student.vector, teacher.vector),
            (_column(student.value), _column(teacher.value)),
        )
        if mine is not None and other is not None
    ]
    difference = _mean(abs(a - b) for mine, other in pairs for a, b in zip(_flat(mine), _flat(other), strict=True))
    return Agreement(same=_same(student, teacher), mean_difference=difference)


def _same(student: TaskPrediction, teacher: TaskPrediction) -> float | None:
    if student.classes is not None and teacher.classes is not None:
        return _mean(a == b for a, b in zip(student.classes, teacher.classes, strict=True))
    if student.labels is not None and teacher.labels is not None:
        return _mean(a == b for a, b in zip(_flat(student.labels), _flat(teacher.labels), strict=True))
    return None


def _column(values: Sequence[float] | None) -> Sequence[Sequence[float]] | None:
    return None if values is None else [values]


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [number for row in rows for number in row]


def _mean(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return sum(found) / len(found)
