"""`?compare=teacher`: a student and its teachers on the same rows, side by side."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.contracts.wire.predictions import Question, RowsFormat
from app.db.rows import ModelRow
from app.http.errors import Conflict, Invalid, NotFound
from app.http.services import Caller, Services
from app.models.predictions.schemas import (
    Agreement,
    NotAnswered,
    Prediction,
    TaskPrediction,
    TeacherPrediction,
)
from app.models.predictions.service import answers_of, body_of
from app.models.predictions.teachers import TeacherOfTask, teachers_of
from app.queue.predictions.records import Answered

MOST_ANSWERED_BYTES: Final = 16 << 20
"""Largest size of all answers of a comparison, which are read number by number: about 700,000 numbers."""


async def compare(services: Services, caller: Caller, model: str, fmt: RowsFormat, body: bytes) -> bytes:
    """The answers of a student and of the teachers of its job: a `Prediction` in JSON.

    Raises NotFound where the model was deleted while the body came, Conflict where it had no teacher, Invalid
    `too_many_rows`, and ApiError as the student's answer does. A teacher that does not answer says why in its place.
    """
    async with services.database.read() as session:
        row = await session.get(ModelRow, model)
        if row is None:
            raise NotFound("unknown_model", "the model was deleted: name another one")
        teachers = await teachers_of(session, row)
    if not teachers:
        raise Conflict(
            "not_distilled", "expected a student of teachers, and this model was trained without: leave `compare` out"
        )
    keys = {str(place): each for place, each in enumerate(teachers) if each.taught is not None}
    asked = list(dict.fromkeys(each.model for each in keys.values() if each.model is not None))
    questions = [Question(model=model, format=fmt), *(_question(one, model, fmt, keys) for one in asked)]
    own, *others = await answers_of(services, caller, questions, body)
    answers = dict(zip(asked, others, strict=True))
    return await asyncio.to_thread(merged, body_of(services, own), teachers, answers)


def merged(own: bytes, teachers: Sequence[TeacherOfTask], answers: Mapping[str, Answered | None]) -> bytes:
    """A student's answer with those of its teachers beside it. `answers`: by the teachers' models.

    Raises Invalid `too_many_rows`.
    """
    size = len(own) + sum(len(each.body) for each in answers.values() if each is not None)
    if size > MOST_ANSWERED_BYTES:
        detail = (
            f"expected answers of student and teachers of at most {MOST_ANSWERED_BYTES} bytes together, found {size}: "
            "send fewer rows"
        )
        raise Invalid.at("", "too_many_rows", detail)
    student = Prediction.model_validate_json(own)
    found = [_teacher(str(place), each, answers, student) for place, each in enumerate(teachers)]
    answer = student.model_copy(update={"teachers": tuple(found)})
    return answer.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _question(teacher: str, student: str, fmt: RowsFormat, keys: dict[str, TeacherOfTask]) -> Question:
    """All that one model taught, asked at once."""
    taught = {key: each.taught for key, each in keys.items() if each.model == teacher and each.taught is not None}
    return Question(model=teacher, format=fmt, rows_of=student, taught=taught)


def _teacher(
    key: str, teacher: TeacherOfTask, answers: Mapping[str, Answered | None], student: Prediction
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
    differences = [abs(a - b) for mine, other in pairs for a, b in zip(_flat(mine), _flat(other), strict=True)]
    return Agreement(same=_same(student, teacher), mean_difference=_mean(differences) if differences else None)


def _same(student: TaskPrediction, teacher: TaskPrediction) -> float | None:
    if student.classes is not None and teacher.classes is not None:
        pairs = zip(_each(student.classes), _each(teacher.classes), strict=True)
        return _mean(a == b for a, b in pairs)
    if student.map is not None and teacher.map is not None:
        return _mean(a == b for a, b in zip(_flat(student.map), _flat(teacher.map), strict=True))
    if student.labels is not None and teacher.labels is not None:
        return _mean(a == b for a, b in zip(_flat(student.labels), _flat(teacher.labels), strict=True))
    return None


def _each(classes: Sequence[Any]) -> list[Any]:
    """The classes of rows, or of their tokens."""
    return [each for row in classes for each in (row if isinstance(row, tuple) else (row,))]


def _column(values: Sequence[float] | None) -> Sequence[Sequence[float]] | None:
    return None if values is None else [values]


def _flat(rows: Sequence[Any]) -> list[float]:
    """The numbers of lists of any depth."""
    return [number for row in rows for number in (_flat(row) if isinstance(row, Sequence) else [row])]


def _mean(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return sum(found) / len(found)
