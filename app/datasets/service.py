"""Datasets: row and formats for `app.resources`."""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from app.contracts.problems import Problem
from app.contracts.resources.columns import column_problems
from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import DATASET_SIGNATURES, DatasetFormat, DatasetManifest
from app.contracts.resources.predictions import PREDICTIONS, UPLOADED_MANIFEST, TableFormat, UploadedManifest
from app.datasets.schemas import Dataset, dataset_view
from app.db.rows import DatasetRow
from app.resources.kinds import ResourceKind


def _row(manifest: UploadedManifest) -> DatasetRow:
    document = manifest.model_dump(mode="json")
    return DatasetRow(name=manifest.name, state="verifying", format=manifest.format, manifest=document)


def _role(manifest: UploadedManifest) -> FileRole:
    return "data"


def _problems(manifest: UploadedManifest) -> Sequence[Problem]:
    return column_problems(manifest) if isinstance(manifest, DatasetManifest) else ()


def _kinds_of_files(formats: Sequence[DatasetFormat]) -> Mapping[str, str | None]:
    return {name: name if name in DATASET_SIGNATURES else None for name in formats}


DATASETS: Final[ResourceKind[DatasetRow, UploadedManifest, Dataset]] = ResourceKind(
    noun="dataset",
    prefix="ds",
    row=DatasetRow,
    new_row=_row,
    manifest=UPLOADED_MANIFEST,
    formats=_kinds_of_files(get_args(DatasetFormat)),
    tables={PREDICTIONS: _kinds_of_files(get_args(TableFormat))},
    role=_role,
    view=dataset_view,
    check_manifest=_problems,
)
