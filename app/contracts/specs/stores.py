"""How soft targets are kept."""

from typing import Literal

from pydantic import Field

from app.contracts.base import Contract


class StoreSpec(Contract):
    """Packing of the soft-target store. Another packing is another entry."""

    precision: Literal["float32", "float16"] = Field(
        default="float32", description="Of stored outputs and layers; float16 halves the disk they take."
    )
    top_k: int | None = Field(
        default=None,
        ge=2,
        le=65_536,
        description="Of outputs with more classes keep the largest scores only: their probabilities are normalised "
        "anew at the temperature in use, and the teacher's own figures in the report come from them.",
    )
