"""The body of `POST /v1/models/{id}/exports`."""

from pydantic import Field, TypeAdapter, ValidationInfo, field_validator

from app.contracts.base import Contract, DatasetId, coded_error, left_out
from app.contracts.specs.quantization import Export


class ExportRequest(Contract):
    """The body of `POST /v1/models/{id}/exports`."""

    format: Export = Field(
        description="Format of the new file. `onnx` takes raw rows: of a student those of the dataset that it was "
        "trained on, as uploaded; of an upload those that its `inputs` describe, before scale, mean, std and encoding. "
        "It puts out `<output>.logits` and `<output>.probabilities`, `<output>.value` or `<output>.vector`. `int8` and "
        "`fp16`: the same graph in 8 or 16 bits."
    )
    dataset: DatasetId | None = Field(
        default=None,
        exclude_if=left_out,
        validate_default=True,
        description="Id of a dataset with rows of the model: training rows, by which ranges for `int8` are measured, "
        "and test rows, on which the file is compared with the model in float32. `int8` needs it.",
    )

    @field_validator("dataset")
    @classmethod
    def _where_rows_serve(cls, dataset: DatasetId | None, found: ValidationInfo) -> DatasetId | None:
        wanted = found.data.get("format")
        if wanted == "int8" and dataset is None:
            raise coded_error(
                "dataset_required",
                "`int8` needs `dataset`: the ranges of the numbers are measured on rows; name one that the model reads",
            )
        if wanted == "onnx" and dataset is not None:
            raise coded_error("needs_no_dataset", "`onnx` takes no rows into account: leave `dataset` out")
        return dataset


EXPORT_REQUEST: TypeAdapter[ExportRequest] = TypeAdapter(ExportRequest)
