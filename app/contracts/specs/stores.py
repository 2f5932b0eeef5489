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
        description="Number of scores stored for outputs with more classes, the largest ones, where that takes less "
        "room. The probability of the other classes together is stored too, for every temperature. All scores when "
        "left out.",
    )
    draws: int = Field(
        default=8,
        ge=0,
        le=65_536,
        description="With `top_k`: number of further scores stored, of classes drawn by their probability, from which "
        "`kd` learns which of the others are likely. The probability of classes that are not stored is spread evenly "
        "over them, also in the teacher's figures in the report.",
    )


def predicted_target(predictions: str, output: str) -> str:
    """Name of an output of predictions among the targets of their dataset; no target of a manifest has such a name."""
    return f"{predictions}/{output}"


def predictions_of(target: str) -> str | None:
    """The predictions that a target is of, by its name; None of a target of a manifest."""
    identity, separator, _ = target.partition("/")
    return identity if separator else None
