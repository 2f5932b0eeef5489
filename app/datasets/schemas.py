"""A dataset as clients see it."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from app.contracts.base import Answer, Metadata
from app.contracts.problems import Rejection
from app.contracts.resources.facts import FileRef
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputSpec, TargetSpec
from app.contracts.resources.predictions import PredictedOutput, UploadedFormat
from app.contracts.resources.splits import SplitName, Splits
from app.contracts.resources.statistics import ColumnCounts, DataWarning, TargetStatistics, WeightStatistics
from app.contracts.resources.tables import CsvOptions, InputEncoding
from app.contracts.states import ModelState
from app.db.rows import DatasetRow
from app.http.pages import Page


class Standardization(Answer):
    """How an input is standardised after `scale`."""

    mean: tuple[float, ...] = Field(description="One for each element of a row's first dimension, or one for all.")
    std: tuple[float, ...] = Field(description="The standard deviations, as many.")
    because: str | None = Field(description="Why in this way; null where the manifest says it.")


class Dataset(Answer):
    """A dataset."""

    id: str = Field(description="`ds_` and a UUIDv7.")
    object: Literal["dataset"] = "dataset"
    name: str = Field(description="Name of the dataset, not necessarily unique.")
    state: ModelState = Field(description="`verifying` while the upload is inspected, then `ready` or `rejected`.")
    rejection: Rejection | None = Field(
        description="Why the inspection rejected the upload; null in every other state."
    )
    format: UploadedFormat = Field(description="Format of the file; `predictions` for those of a teacher.")
    files: tuple[FileRef, ...] = Field(description="Stored files of the dataset.")
    rows: int | None = Field(description="Number of rows; null until the inspection has counted them.")
    splits: dict[SplitName, int] = Field(description="Number of rows in each split; empty until known.")
    file_rows: dict[str, int] = Field(
        default_factory=dict,
        description="Rows of each file by its name, in their order, where there are several; empty until known.",
    )
    csv: CsvOptions | None = Field(description="How a csv is written, as in the manifest; else null.")
    of: str | None = Field(
        default=None, description="Of predictions: the dataset whose rows they are for; `splits` count those with any."
    )
    outputs: dict[str, PredictedOutput] = Field(
        default_factory=dict, description="Outputs of predictions by name, as in the manifest."
    )
    inputs: dict[str, InputSpec] = Field(description="Inputs by name, as in the manifest; empty for predictions.")
    encodings: dict[str, InputEncoding] = Field(
        description="By input, the categories in order and the numbers that fill missing ones, once they are known; "
        "without inputs that are read as they stand in the file."
    )
    standardization: dict[str, Standardization] = Field(
        default_factory=dict,
        description="How each standardised input is standardised, by name.",
    )
    tokens: dict[str, TokenEncoding] = Field(
        default_factory=dict,
        description="How each input of texts becomes tokens for students without a tokenizer of their own, by name, "
        "once it is known.",
    )
    column_counts: dict[str, dict[str, dict[SplitName, ColumnCounts]]] = Field(
        description="By input, column and split: rows with a missing value, and rows whose category is none of those "
        "in `encodings`. Columns of numbers without a missing value are left out."
    )
    targets: dict[str, TargetSpec] = Field(description="Targets by name, as in the manifest; may be empty.")
    statistics: dict[str, dict[SplitName, TargetStatistics]] = Field(
        description="Of each target and split: label counts, missing labels, range; empty until inspected."
    )
    weights: dict[str, dict[SplitName, WeightStatistics]] = Field(
        default_factory=dict,
        description="Row weights by name, as in the manifest, with range, sum and effective sample size by split; "
        "empty until inspected.",
    )
    warnings: tuple[DataWarning, ...] = Field(
        description="What the inspection found unusual; dry runs and reports repeat what concerns the job."
    )
    dealt: Splits | None = Field(
        description="How rows are assigned to splits, as `splits` in the manifest; null for predictions."
    )
    created_at: AwareDatetime = Field(description="When the dataset was uploaded (RFC 3339, UTC).")
    metadata: Metadata


class DatasetPage(Page[Dataset]):
    """A page of datasets."""


def dataset_view(row: DatasetRow) -> Dataset:
    """The view of a row with its files. Fields that only a newer version knows are left out."""
    manifest: dict[str, Any] = row.manifest
    facts: dict[str, Any] = row.facts or {}
    inputs: dict[str, Any] = facts.get("inputs") or {}
    files = [{"name": file.name, "role": file.role, "bytes": file.bytes, "sha256": file.sha256} for file in row.files]
    document = {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "rejection": row.rejection,
        "format": row.format,
        "files": files,
        "rows": facts.get("rows"),
        "splits": facts.get("splits") or {},
        "file_rows": facts.get("files") or {},
        "csv": manifest.get("csv"),
        "of": manifest.get("of"),
        "outputs": manifest.get("outputs") or {},
        "inputs": manifest.get("inputs") or {},
        "encodings": {name: each["encoding"] for name, each in inputs.items() if each.get("encoding")},
        "standardization": {name: each for name, each in inputs.items() if each.get("mean") and each.get("std")},
        "tokens": {name: each["tokens"] for name, each in inputs.items() if each.get("tokens")},
        "column_counts": {name: each["column_counts"] for name, each in inputs.items() if each.get("column_counts")},
        "targets": manifest.get("targets") or {},
        "statistics": {name: target.get("statistics") or {} for name, target in (facts.get("targets") or {}).items()},
        "weights": facts.get("weights") or {},
        "warnings": facts.get("warnings") or [],
        "dealt": manifest.get("splits"),
        "created_at": row.created_at,
        "metadata": manifest.get("metadata") or {},
    }
    return Dataset.model_validate(document, strict=False, extra="ignore")
