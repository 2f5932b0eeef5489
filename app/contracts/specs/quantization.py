"""Formats of exported files, and training for those in 8 bits."""

from typing import Literal, get_args

from pydantic import Field

from app.contracts.base import Contract

Export = Literal["onnx", "int8", "fp16"]
QuantizedFormat = Literal["int8", "fp16"]
QUANTIZED: tuple[QuantizedFormat, ...] = get_args(QuantizedFormat)


class QuantizationSpec(Contract):
    """Training with the rounding of an int8 file, so that the weights make up for it.

    From the share `begin` of the steps on, linear and convolution layers compute with weights and inputs rounded to 8
    bits, with straight-through gradients (Jacob et al. 2018). So are the student, its peers, its control and the models
    of `baselines` trained; teachers and losses stay as they are. Epochs before do not count for the selection. The
    `int8` file has the same arithmetic, and is exported whether `exports` names it or not.
    """

    aware: Literal[True] = Field(default=True, description="Whether training knows of the rounding.")
    bits: int = Field(default=8, ge=8, le=8, description="Bits of a weight and of an input; 8 is the only choice.")
    begin: float = Field(
        default=0.6, ge=0.0, le=0.95, description="Share of the optimizer steps before the rounding begins."
    )
