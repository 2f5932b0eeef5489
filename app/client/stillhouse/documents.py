"""Answers of the service: light objects over its JSON.

The attributes are the documented fields that people use; `json` has all of them. A field that this version does not
know is there in `json`, and one that the service leaves out is None.
"""

from datetime import datetime
from typing import Any, Generic, Self, TypeVar, cast, overload

JSON = dict[str, Any]
T = TypeVar("T")


class Document:
    """An answer. `json`: all of it, as the service sent it."""

    def __init__(self, json: JSON) -> None:
        self.json = json

    def __repr__(self) -> str:
        shown = [f"{name}={self.json[name]!r}" for name in ("id", "name", "kind", "state") if self.json.get(name)]
        return f"{type(self).__name__}({', '.join(shown)})"


class Value(Generic[T]):
    """A documented field of a Document; None where the answer lacks it."""

    def __init__(self, description: str, name: str | None = None) -> None:
        self.__doc__ = description
        self._name = name or ""

    def __set_name__(self, owner: type[Document], name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, document: None, owner: type[Document]) -> Self: ...

    @overload
    def __get__(self, document: Document, owner: type[Document]) -> T: ...

    def __get__(self, document: Document | None, owner: type[Document]) -> Self | T:
        return self if document is None else cast(T, document.json.get(self._name))


class Time:
    """A documented time (UTC); None where it has not come."""

    def __init__(self, description: str) -> None:
        self.__doc__ = description
        self._name = ""

    def __set_name__(self, owner: type[Document], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, document: None, owner: type[Document]) -> Self: ...

    @overload
    def __get__(self, document: Document, owner: type[Document]) -> datetime | None: ...

    def __get__(self, document: Document | None, owner: type[Document]) -> Self | datetime | None:
        if document is None:
            return self
        value = document.json.get(self._name)
        return datetime.fromisoformat(value) if isinstance(value, str) else None


class Resource(Document):
    """What models, datasets and jobs have in common. Two objects of one resource are equal."""

    id = Value[str]("Its id, as specs and URLs name it.")
    name = Value[str | None]("Name for people, not necessarily unique.")
    state = Value[str]("Its state.")
    created_at = Time("When the service accepted it.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


class UploadFields(Resource):
    """What models and datasets have in common. `state` is `verifying`, `ready` or `rejected`."""

    format = Value[str]("Format of the upload.")
    rejection = Value[dict[str, str] | None]("Why the inspection refused it: `code` and `message`; else None.")
    files = Value[list[dict[str, Any]]]("The stored files: `name`, `role`, `bytes`, `sha256`.")
    warnings = Value[list[dict[str, Any]]]("What the inspection chose or found unusual, with `code` and `message`.")
    metadata = Value[dict[str, Any]]("As in the manifest.")


class ModelFields(UploadFields):
    """A model."""

    architecture = Value[dict[str, Any] | None]("The network; None for onnx, whose file contains its graph.")
    parameters = Value[int | None]("Number of parameters; None until it is known.")
    inputs = Value[dict[str, dict[str, Any]]]("The transform of each raw input.")
    raw_inputs = Value[dict[str, dict[str, Any]]]("The rows that the ONNX file takes, by input.")
    outputs = Value[dict[str, dict[str, Any]]]("Meaning of each output.")
    source = Value[dict[str, Any]]("`upload`, or the job that trained it.")
    licence = Value[str | None]("Licence, as its manifest or job states it.")


class DatasetFields(UploadFields):
    """A dataset."""

    rows = Value[int | None]("Number of rows; None until it is known.")
    splits = Value[dict[str, int]]("Number of rows in each split; empty until known.")
    inputs = Value[dict[str, dict[str, Any]]]("Inputs by name, as in the manifest.")
    targets = Value[dict[str, dict[str, Any]]]("Targets by name, as in the manifest.")
    dealt = Value[dict[str, Any] | None]("How rows are assigned to splits, as `splits` in the manifest.")
    statistics = Value[dict[str, Any]]("Of each target and split: counts of labels, missing ones, range.")


class JobFields(Resource):
    """A job. `state` is `queued`, `starting`, `running`, `pausing`, `paused`, `cancelling`, or final: `succeeded`,
    `failed`, `cancelled`.
    """

    kind = Value[str]("`train`, `distill`, `multitask`, `preflight`, `export` or `inspect`.")
    spec = Value[dict[str, Any]]("The spec with its defaults; fully resolved once a worker has begun.")
    progress = Value[dict[str, Any]]("`percent`, `epoch`, `epochs`, `step`, `steps`, `eta_seconds`, `phase` and more.")
    priority = Value[int]("Of the waiting jobs of one key the highest goes first.")
    attempt = Value[int]("Number of times that a worker has taken the job.")
    device = Value[str | None]("Device of the latest attempt.")
    student_id = Value[str | None]("Id of the trained model; None until the job has succeeded.", "student")
    outputs = Value[list[dict[str, Any]]]("Models that the job made: `role`, `model`.")
    error = Value[dict[str, Any] | None]("Why it failed: `code`, `class`, `message`; None where nothing went wrong.")
    labels = Value[dict[str, str]]("Labels given at submission.")
    retry_of = Value[str | None]("Id of the job that this one retries.")
    started_at = Time("When a worker first began the work.")
    finished_at = Time("When it reached a final state.")

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in ("succeeded", "failed", "cancelled")


class Event(Document):
    """Something that happened to a job."""

    seq = Value[int]("1, 2, 3 … without gaps in each job.")
    type = Value[str]("`state`, `phase`, `progress`, `checkpoint` or `warning`.")
    data = Value[dict[str, Any]]("What happened; its fields depend on the type.")
    time = Time("When the service recorded it.")

    def __repr__(self) -> str:
        return f"Event({self.seq}, {self.type!r}, {self.data!r})"


class DryRun(Document):
    """What a job would be."""

    spec = Value[dict[str, Any]]("The resolved spec, with every default.")
    complete = Value[bool]("False while an input is being inspected or trained: the rest is checked later.")
    parameters = Value[int | None]("Number of parameters of the student.")
    flops = Value[int | None]("FLOPs of a forward pass of one row.")
    warnings = Value[list[dict[str, str]]]("Each with `code` and `message`; they do not prevent submission.")
    chosen = Value[dict[str, dict[str, Any]]]("What the recipe chose, by JSON pointer into `spec`: `value`, `because`.")
    test_looks = Value[int]("How often the test split has been looked at.")

    def __repr__(self) -> str:
        return f"DryRun(parameters={self.parameters}, warnings={[each.get('code') for each in self.warnings or ()]})"


class Comparison(Document):
    """Several jobs on one test split."""

    compared = Value[int]("Number of jobs.")
    tasks = Value[dict[str, dict[str, Any]]]("By task: `metric`, `control`, and `jobs` by rank.")
    controls = Value[dict[str, Any]]("Whether the jobs' controls are the same.")
    method = Value[str]("How the intervals were corrected, and what they do not cover.")

    def __repr__(self) -> str:
        return f"Comparison({self.compared} jobs, tasks={sorted(self.tasks or {})})"
