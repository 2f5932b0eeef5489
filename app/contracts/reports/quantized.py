"""What quantized files of the student are and lose, for the report."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Answer

QuantizationMethod = Literal["dynamic", "static", "aware", "half"]
ComparedSplit = Literal["train", "validation"]
QuantizedWord = Literal["keeps", "loses", "undecided", "not_applicable"]


class QuantizedVerdict(Answer):
    """What a quantized file costs on one task, beside the student in float32 on the same test rows."""

    verdict: QuantizedWord = Field(
        description="`keeps`: the whole interval is above -`margin`; `loses`: it lies below 0; otherwise `undecided`. "
        "`not_applicable`: nothing could be compared, see `method`."
    )
    metric: str | None = Field(default=None, description="Metric that is compared; null where nothing is.")
    quantized: float | None = Field(default=None, description="The metric of the quantized file on the test split.")
    student: float | None = Field(default=None, description="The metric of the student in float32.")
    difference: float | None = Field(
        default=None, description="Quantized against float32; negative values are losses, whatever the metric."
    )
    margin: float | None = Field(default=None, description="Losses up to this size count as none.")
    interval: tuple[float, float] | None = Field(
        default=None, description="Confidence interval of the difference: lower and upper limit."
    )
    confidence: float | None = Field(default=None, description="Confidence level of `interval`.")
    method: str = Field(description="The verdict in words, and how it was reached.")


class QuantizedCandidate(Answer):
    """One way of quantization, of which the best on the rows of `split` is exported."""

    method: QuantizationMethod = Field(description="How it was quantized, as in the party.")
    score: float | None = Field(
        default=None,
        description="Mean over the tasks of the score on the rows of `split`, at most 4096, higher is better: "
        "accuracy, R², or minus the error relative to the student's; null without labels.",
    )
    deviation: float | None = Field(
        default=None,
        description="Mean squared difference of its outputs from the student's, in the units of the network; null "
        "where it is not finite.",
    )
    bytes: int = Field(description="Size of the file in bytes, without its metadata.")
    split: ComparedSplit = Field(
        default="validation",
        description="The split on whose rows it was measured: `train` where the dataset has no validation split. These "
        "are then the rows by which ranges of inputs were measured, at most 1024.",
    )
