"""Datasets: row and formats for `app.resources`."""

from typing import Final, get_args

from pydantic import TypeAdapter

from app.contracts.resources.columns import column_problems
from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import DATASET_SIGNATURES, DatasetFormat, DatasetManifest
from app.datasets.schemas import Dataset, dataset_view
from app.db.rows import DatasetRow
from app.resources.kinds import ResourceKind


def _row(manifest: DatasetManifest) -> DatasetRow:
    document = manifest.model_dump(mode="json")
    return DatasetRow(name=manifest.name, state="verifying", format=manifest.format, manifest=document)


def _role(manifest: DatasetManifest) -> FileRole:
    return "data"


DATASETS: Final[ResourceKind[DatasetRow, DatasetManifest, Dataset]] = ResourceKind(
    noun="dataset",
    prefix="ds",
    row=DatasetRow,
    new_row=_row,
    manifest=TypeAdapter(DatasetManifest),
    formats={name: name if name in DATASET_SIGNATURES else None for name in get_args(DatasetFormat)},
    role=_role,
    view=dataset_view,
    check_manifest=column_problems,
)
