"""Manifests of predictions: outputs of a teacher that runs elsewhere, for rows of a dataset, by the id of each row."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter, model_validator

from app.contracts.base import Column, Contract, DatasetId, Dimension, Metadata, Name, Title, left_out
from app.contracts.resources.inputs.arrays import Columns
from app.contracts.resources.manifests import (
    ClassOutput,
    DatasetFormat,
    DatasetManifest,
    OutputSpec,
    PositionOutput,
)
from app.contracts.resources.tables import CsvOptions

TableFormat = Literal["npz", "parquet", "csv", "jsonl"]
UploadedFormat = Literal[DatasetFormat, "predictions"]
"""Formats of what is uploaded as a dataset."""
PREDICTIONS: Final = "predictions"
MOST_PAIRS: Final = 1024
PairColumns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=MOST_PAIRS)]


class TopKPairs(Contract):
    """Pairs of a class and its probability, the same number in every row at most.

    A row may leave out pairs at its end or between others (null in both). What the pairs of a row lack to a sum of 1
    is spread evenly over the classes that it does not name.
    """

    classes: PairColumns = Field(
        description="Columns of the classes, in order, or one whose rows are lists: names of `predicts.classes`, or "
        "numbers from 0."
    )
    scores: PairColumns = Field(
        description="Columns of their probabilities, or of the logarithms (`predicts.output`), in the same order."
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.classes) != len(self.scores):
            raise ValueError(
                f"expected as many columns in `scores` as in `classes`, found {len(self.scores)} and "
                f"{len(self.classes)}: name the two of each pair at the same place"
            )
        return self


class PredictedOutput(Contract):
    """One output of the teacher."""

    columns: Columns | None = Field(
        default=None, description="Columns of the numbers, in order, or one npz key; the output's name when left out."
    )
    top_k: TopKPairs | None = Field(
        default=None, exclude_if=left_out, description="Instead of `columns`: the likeliest classes of each row."
    )
    size: Dimension | None = Field(
        default=None,
        description="Number of values of a row, such as the number of classes; compared with the file, and needed with "
        "`top_k` where `predicts.classes` does not name them.",
    )
    predicts: OutputSpec = Field(description="Meaning of the numbers, as for an output in a model's manifest.")

    @model_validator(mode="after")
    def _pairs_are_of_classes(self) -> Self:
        if self.top_k is None:
            return self
        if self.columns is not None:
            raise ValueError("give `columns` or `top_k`, one of the two")
        if not isinstance(self.predicts, ClassOutput) or self.predicts.output not in (
            "probabilities",
            "log_probabilities",
        ):
            raise ValueError(
                "`top_k` needs probabilities of classes, since scores of some classes do not say how likely the others "
                'are: upload the softmax with `"output": "probabilities"` or `"log_probabilities"`, or every score'
            )
        if self.size is None and self.predicts.classes is None:
            raise ValueError("`top_k` does not say how many classes there are: give `size`, or `predicts.classes`")
        return self

    @model_validator(mode="after")
    def _rows_are_predicted(self) -> Self:
        if isinstance(self.predicts, PositionOutput):
            raise ValueError(
                "predictions have answers for rows, found those for tokens or pixels: use a model as teacher"
            )
        return self

    @model_validator(mode="after")
    def _size_is_that_of_the_names(self) -> Self:
        names = self.predicts.classes if isinstance(self.predicts, ClassOutput) else None
        if names is not None and self.size not in (None, len(names)):
            raise ValueError(f"`predicts.classes` names {len(names)} classes, but `size` is {self.size}: leave it out")
        return self


class PredictionsManifest(Contract):
    """The manifest of predictions: a file with a teacher's outputs for rows of a dataset that is there already."""

    name: Title = Field(description="Name for people, not necessarily unique.")
    format: Literal["predictions"]
    file_format: TableFormat = Field(
        description="Format of the file; a csv or jsonl file may be compressed by gzip or zstd."
    )
    csv: CsvOptions | None = Field(
        default=None, exclude_if=left_out, description="How a csv is written; only with `file_format` csv."
    )
    of: DatasetId = Field(description="Id of the dataset whose rows were predicted.")
    id: Column = Field(
        description="Column of the file that says which row of the dataset each of its rows is for. Rows are matched "
        "by it, in any order; rows of the dataset that it lacks have no teacher."
    )
    of_column: Column | None = Field(
        default=None,
        exclude_if=left_out,
        description="Column of the dataset's file that has the same ids, each once; it need not be in the dataset's "
        "manifest. The one named as `id` when left out.",
    )
    row_numbers: bool = Field(
        default=False,
        description="true: `id` has numbers of rows in the dataset's file, from 0, for a dataset without ids.",
    )
    outputs: Annotated[dict[Name, PredictedOutput], Field(min_length=1, max_length=64)] = Field(
        description="The teacher's outputs by name. One that has the name of a target of the dataset is compared with "
        "it: kind, number and names of classes."
    )
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_to_match(self) -> Self:
        if self.row_numbers and self.of_column is not None:
            raise ValueError("rows are matched by `row_numbers` or by `of_column`: leave one of the two out")
        return self

    @model_validator(mode="after")
    def _csv_options_are_for_csv(self) -> Self:
        if self.csv is not None and self.file_format != "csv":
            raise ValueError(
                f"`csv` says how a csv file is written, but `file_format` is {self.file_format}: leave it out"
            )
        return self


def _kind_of_manifest(value: Any) -> str:
    declared = value.get("format") if isinstance(value, dict) else getattr(value, "format", None)
    return "of_predictions" if declared == PREDICTIONS else "of_rows"


UploadedManifest = DatasetManifest | PredictionsManifest
"""The manifest of what is uploaded as a dataset."""
UPLOADED_MANIFEST: TypeAdapter[UploadedManifest] = TypeAdapter(
    Annotated[
        Annotated[DatasetManifest, Tag("of_rows")] | Annotated[PredictionsManifest, Tag("of_predictions")],
        Discriminator(_kind_of_manifest),
    ]
)
