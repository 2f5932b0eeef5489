"""Job specs from what callers have at hand: objects of the client stand for their ids."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from math import isfinite
from typing import Any, Final

from stillhouse.documents import JSON, JobFields, ModelFields, Resource
from stillhouse.errors import Unreadable

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
DEEPEST: Final = 100
"""Levels of lists and mappings in a document."""
Reference = Resource | str
"""A model, dataset or job, or its id."""
Teacher = Reference | Mapping[str, Any]
"""A teacher: a model, a job (its student), predictions; or an object of a spec, such as `{"columns": "told"}`."""
Task = str | Mapping[str, Any]
"""The name of a target, or an object of a spec."""
Network = Mapping[str, Any] | ModelFields
"""A network of a spec, such as `{"family": "mlp", "hidden": [16]}`; a model stands for its architecture and weights."""


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON: objects of the client become their ids, tuples lists, times texts. Raises Unreadable."""
    if depth > DEEPEST:
        raise Unreadable(
            f"expected what is at most {DEEPEST} levels deep, found more: does a list or mapping contain itself?"
        )
    if isinstance(value, Resource):
        return value.id
    if isinstance(value, Mapping):
        return {_text(str(key)): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [plain(each, depth + 1) for each in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):  # numbers and arrays, without importing it
        return plain(value.tolist(), depth + 1)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, date | time):  # of YAML and TOML
        return value.isoformat()
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    shown = value if isinstance(value, float) else type(value).__name__
    raise Unreadable(f"expected what JSON can hold, found {shown}: use finite numbers, texts, lists and mappings")


def _text(value: str) -> str:
    """A text that UTF-8 can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        shown = ascii(value[:60])
        raise Unreadable(f"expected texts of whole characters, found half of one in {shown}: correct it") from None
    return value


def identity(value: Reference) -> str:
    """The id of a resource. Raises TypeError for what has none, and Unreadable for a text that is none, so that it
    cannot become another path.
    """
    given: object = value
    if not isinstance(given, str | Resource):
        kind = type(given).__name__
        raise TypeError(f"expected a model, dataset or job, or its id, found {kind}: check the order of the arguments")
    found: str | None = given if isinstance(given, str) else given.id
    if found is None or not _ID.fullmatch(found):
        raise Unreadable("expected an id such as job_…, mdl_… or ds_…, found another text: the lists have the ids")
    return found


def identities(values: Reference | Iterable[Reference]) -> list[str]:
    """The ids of several resources, or of a single one."""
    return [identity(each) for each in _several(values, str | Resource)]


def _several(values: Any, single: Any) -> list[Any]:
    """What may be one thing or several as a list. Raises TypeError."""
    if isinstance(values, single):
        return [values]
    if not isinstance(values, Iterable):
        raise TypeError(f"expected one or several, found {type(values).__name__}: pass a list")
    return list(values)


def _network(network: Network | None) -> Any:
    given: object = network
    if given is None:
        return None
    if isinstance(given, ModelFields):
        return {"model": given.id}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise TypeError(
            f'expected a network such as {{"family": "mlp", "hidden": [16]}} or a model, found {kind}: check the order '
            "of the arguments"
        )
    return plain(given)


def _teacher(teacher: Teacher) -> Any:
    """A teacher by the kind of its id."""
    if isinstance(teacher, Mapping):
        return plain(teacher)
    found = identity(teacher)
    kinds = {"mdl": "model", "job": "job", "ds": "predictions"}
    kind = "job" if isinstance(teacher, JobFields) else kinds.get(found.partition("_")[0], "model")
    return {kind: found}


def _teachers(teacher: Teacher | None, teachers: Teacher | Iterable[Teacher] | None) -> list[Any] | None:
    if teacher is not None and teachers is not None:
        raise TypeError("expected `teacher` or `teachers`, found both: put all of them into `teachers`")
    several = [teacher] if teacher is not None else _several(teachers or (), str | Resource | Mapping)
    return [_teacher(each) for each in several] or None


def train(dataset: Reference | None, model: Network | None, target: str | None, fields: Mapping[str, Any]) -> JSON:
    """The spec of a job that trains on labels."""
    return _spec("train", dataset, {"model": _network(model), "target": target}, fields)


def distill(
    dataset: Reference | None,
    student: Network | None,
    teacher: Teacher | None,
    teachers: Teacher | Iterable[Teacher] | None,
    target: str | None,
    fields: Mapping[str, Any],
) -> JSON:
    """The spec of a distillation."""
    own = {"student": _network(student), "teachers": _teachers(teacher, teachers), "target": target}
    return _spec("distill", dataset, own, fields)


def multitask(
    dataset: Reference | None,
    student: Network | None,
    tasks: Task | Iterable[Task],
    fields: Mapping[str, Any],
) -> JSON:
    """The spec of a job of several tasks; a task by its name alone has the target of that name."""
    told = [_task(each) for each in _several(tasks, str | Mapping)]
    return _spec("multitask", dataset, {"student": _network(student), "tasks": told}, fields)


def _task(task: Task) -> Any:
    if isinstance(task, str):
        return {"name": task}
    given = {key: value for key, value in task.items() if key not in ("teacher", "teachers")}
    teachers = _teachers(task.get("teacher"), task.get("teachers"))
    return plain(given) | ({"teachers": teachers} if teachers else {})


def preflight(job: Mapping[str, Any], fields: Mapping[str, Any]) -> JSON:
    """The spec of a preflight of another spec."""
    return {"kind": "preflight", "job": plain(job), **plain(fields)}


def _spec(kind: str, dataset: Reference | None, own: Mapping[str, Any], fields: Mapping[str, Any]) -> JSON:
    """Fields that are None are left out: the service has defaults for them."""
    document = {"kind": kind, "dataset": None if dataset is None else identity(dataset), **own, **plain(fields)}
    return {name: value for name, value in document.items() if value is not None}
