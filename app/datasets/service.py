"""Datasets: row and formats for `app.resources`."""

from typing import Final

from pydantic import TypeAdapter

from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import DatasetManifest
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
    formats={"npz": "npz", "parquet": "parquet", "csv": None, "jsonl": None},
    role=_role,
    view=dataset_view,
)
