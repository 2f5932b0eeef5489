"""How soft targets are stored."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Contract


class StoreSpec(Contract):
    """Packing of the soft-target store. Entries with different packing are stored separately."""

    precision: Literal["float32", "float16"] = Field(
        default="float32", description="Number format of stored outputs and layers; float16 needs half the disk space."
    )
    top_k: int | None = Field(
        default=None,
        ge=2,
        le=65_536,
        description="Number of scores stored for outputs with more classes, the largest ones. Their probabilities are "
        "normalised again at the temperature in use, and the teacher's figures in the report come from "
        "them. All scores when left out.",
    )
