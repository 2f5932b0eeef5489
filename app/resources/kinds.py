"""What distinguishes models from datasets for the operations of `app.resources`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import TypeAdapter

from app.contracts.base import Answer
from app.contracts.problems import Problem
from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import ModelManifest
from app.contracts.resources.predictions import PredictionsManifest, UploadedManifest
from app.contracts.specs.jobs import InspectJob
from app.db.ids import Prefix
from app.db.rows import DatasetRow, ModelRow
from app.http import strict_json
from app.http.errors import Invalid
from app.http.validation import validate
from app.resources.formats import check_format, kind_of_file, refuse_named

R = TypeVar("R", ModelRow, DatasetRow)
M = TypeVar("M", ModelManifest, UploadedManifest)
V = TypeVar("V", bound=Answer)


@dataclass(frozen=True)
class ResourceKind(Generic[R, M, V]):
    """Models or datasets: row, manifest and view classes, and the accepted formats."""

    noun: Literal["model", "dataset"]
    prefix: Prefix
    row: type[R]
    new_row: Callable[[M], R]
    manifest: TypeAdapter[M]
    formats: Mapping[str, str | None]  # format -> what `formats.kind_of_file` returns for it
    role: Callable[[M], FileRole]
    view: Callable[[R], V]
    tables: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """Formats whose manifests name that of the file in `file_format`, each with those that it may have."""
    check_manifest: Callable[[M], Sequence[Problem]] = lambda manifest: ()
    """Problems of a manifest that is sent; stored ones, of an older version too, are read without it."""
    most_files: int = 1
    with_files: Callable[[M, Sequence[str]], M] = lambda manifest, names: manifest
    """The manifest for files of these names, in their order. Raises Invalid where it does not go with them."""

    @property
    def path(self) -> str:
        """URL path of the collection."""
        return f"/v1/{self.noun}s"

    def location(self, identity: str) -> str:
        """URL path of one of them."""
        return f"{self.path}/{identity}"

    def read_manifest(self, data: bytes) -> M:
        """A manifest from JSON; raises BadRequest or Invalid. The format is checked before the other fields."""
        parsed = strict_json.parse(data, "the manifest")
        refuse_named(parsed, (*self.formats, *self.tables))
        manifest = validate(self.manifest, data, parsed=parsed)
        problems = self.check_manifest(manifest)
        if problems:
            raise Invalid(problems, problems[0].code)
        return manifest

    def check_file(self, manifest: M, path: Path) -> None:
        """Raise Invalid unless the file has the format that the manifest declares."""
        if isinstance(manifest, PredictionsManifest):
            check_format(manifest.file_format, kind_of_file(path), self.tables[manifest.format], "file_format")
        else:
            check_format(manifest.format, kind_of_file(path), self.formats)

    def inspection(self, identity: str, manifest: M) -> InspectJob:
        """The job that inspects the file."""
        if self.noun == "model":
            return InspectJob(model=identity)
        return InspectJob(dataset=identity, of=manifest.of if isinstance(manifest, PredictionsManifest) else None)
