"""A model as a bundle describes it: what is known of it, its stored files, and the report of its job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.contracts.resources.facts import MODEL_FACTS, FileRole, ModelFacts
from app.contracts.resources.graph_inputs import GraphInput, graph_inputs
from app.contracts.resources.manifests import InputTransform, OutputSpec
from app.contracts.resources.raw_rows import RawFile, RawInput
from app.db.base import json_text
from app.db.rows import FileRow, ModelRow

FILE_NAMES: Final[Mapping[FileRole, str]] = {
    "onnx": "student.onnx",
    "int8": "student.int8.onnx",
    "fp16": "student.fp16.onnx",
    "weights": "student.safetensors",
    "invented_rows": "reference.npz",
    "reference_rows": "reference.npz",
    "tokenizer": "tokenizer.json",
}
"""What a model's files are called in a bundle, by role; a file of another role is not in it."""


@dataclass(frozen=True)
class BundledInput:
    """One input of the graph. `name`: that of the dataset's input; `raw`: how the rows stand in its file, None
    where none is known.
    """

    name: str
    transform: InputTransform
    takes: GraphInput
    raw: RawInput | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns or keys of a file that its rows are read from."""
        if self.takes.tokens is not None:
            return (self.name,)  # of ids, which `texts.py` makes of the columns of the texts
        encoding = self.transform.encoding
        known = self.raw.columns if self.raw is not None else ()
        return known or self.transform.columns or (encoding.columns if encoding is not None else ()) or (self.name,)


@dataclass(frozen=True)
class BundledModel:
    """A ready model of a family. `report`: that of the job that trained it, None for uploads and peers."""

    id: str
    name: str
    job: str | None
    licence: str | None
    metadata: Mapping[str, str]
    facts: ModelFacts
    files: Mapping[str, FileRow]
    """The stored files by their names in the bundle."""
    report: Mapping[str, Any] | None

    @classmethod
    def of(cls, row: ModelRow, report: Mapping[str, Any] | None) -> "BundledModel":
        """From the row of a ready model with its files."""
        by_role = {file.role: file for file in row.files}
        return cls(
            id=row.id,
            name=row.name,
            job=row.source_job_id,
            licence=row.manifest.get("licence"),
            metadata=row.manifest.get("metadata") or {},
            facts=MODEL_FACTS.validate_json(json_text(row.facts), extra="ignore"),
            files={name: by_role[role] for role, name in FILE_NAMES.items() if role in by_role},
            report=report,
        )

    @property
    def outputs(self) -> dict[str, OutputSpec]:
        """The meaning of each task's answers."""
        return {name: output.spec for name, output in self.facts.outputs.items()}

    @property
    def inputs(self) -> dict[str, BundledInput]:
        """The graph's inputs by its names, in the order of the network."""
        transforms = self.facts.inputs or {"x": InputTransform()}
        taken, raw = graph_inputs(self.facts), self.facts.raw_inputs
        return {
            taken[name].input: BundledInput(name, each, taken[name], raw.get(name)) for name, each in transforms.items()
        }

    @property
    def file(self) -> RawFile | None:
        """How the file is written that the rows stand in."""
        return self.facts.raw_file

    @property
    def reads_images(self) -> bool:
        """Whether its only input has images."""
        return len(self.inputs) == 1 and all(each.takes.image is not None for each in self.inputs.values())

    @property
    def reads_sounds(self) -> bool:
        """Whether its only input has sounds."""
        return len(self.inputs) == 1 and all(each.takes.audio is not None for each in self.inputs.values())

    @property
    def reads_texts(self) -> bool:
        """Whether its only input has texts."""
        found = [each.takes.tokens for each in self.inputs.values()]
        return len(found) == 1 and found[0] is not None and not found[0].ids

    @property
    def reads_ids(self) -> bool:
        """Whether its only input has lists of ids."""
        found = [each.takes.tokens for each in self.inputs.values()]
        return len(found) == 1 and found[0] is not None and bool(found[0].ids)

    @property
    def has_real_rows(self) -> bool:
        """Whether the reference rows are rows of the dataset."""
        file = self.files.get("reference.npz")
        return file is not None and file.role == "reference_rows"
