"""Datasets: row and formats for `app.resources`."""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from app.contracts.problems import Problem, listed
from app.contracts.resources.columns import column_problems
from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import DATASET_SIGNATURES, DatasetFormat, DatasetManifest
from app.contracts.resources.predictions import PREDICTIONS, UPLOADED_MANIFEST, TableFormat, UploadedManifest
from app.contracts.resources.splits import MOST_FILES, FileSplits, split_in_name
from app.datasets.schemas import Dataset, dataset_view
from app.db.rows import DatasetRow
from app.http.errors import Invalid
from app.resources.kinds import ResourceKind


def _row(manifest: UploadedManifest) -> DatasetRow:
    document = manifest.model_dump(mode="json")
    return DatasetRow(name=manifest.name, state="verifying", format=manifest.format, manifest=document)


def _role(manifest: UploadedManifest) -> FileRole:
    return "data"


def _problems(manifest: UploadedManifest) -> Sequence[Problem]:
    return column_problems(manifest) if isinstance(manifest, DatasetManifest) else ()


def _with_files(manifest: UploadedManifest, names: Sequence[str]) -> UploadedManifest:
    """With the splits that the names of several files say, where the manifest leaves `splits` out. Raises Invalid."""
    if not isinstance(manifest, DatasetManifest):
        return manifest
    splits = manifest.splits
    if isinstance(splits, FileSplits) and splits.files.keys() != set(names):
        detail = f"expected each file of the dataset once, {listed(names)}, found {listed(splits.files)}: name these"
        raise Invalid.at("/splits/files", "unknown_file", detail)
    if "splits" in manifest.model_fields_set:
        return manifest
    found = {name: split_in_name(name) for name in names}
    named = {name: split for name, split in found.items() if split is not None}
    if len(set(found.values())) == 1:  # one file, or several that are not told apart
        return manifest
    if len(named) < len(found) or "train" not in named.values():
        without = listed(name for name in found if name not in named) or "no file of training rows"
        detail = (
            f"expected a split in the name of every file or of none, found {listed(named)}, and {without}: rename "
            'files, or say `splits`, as `{"files": {"a.csv": "train", …}}`, or as `fractions` of all rows together'
        )
        raise Invalid.at("/splits", "unclear_splits", detail)
    return manifest.model_copy(update={"splits": FileSplits(files=named)})


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
    most_files=MOST_FILES,
    with_files=_with_files,
)
