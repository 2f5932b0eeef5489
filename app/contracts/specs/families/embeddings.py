"""How a network without a classifier makes one vector of a row."""

from pydantic import Field

from app.contracts.base import Contract
from app.contracts.specs.families.layer_pairs import LayerPooling


class Embedding(Contract):
    """One vector a row of the last layer of an encoder, as sentence-transformers has it."""

    pooling: LayerPooling = Field(
        description="`mean`: over the tokens of a row, without padding, or over the places of an image; `first`: the "
        "vector of the first token."
    )
    normalize: bool = Field(default=False, description="Divide the output by its Euclidean length.")
