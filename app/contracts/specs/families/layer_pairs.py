"""Layers of networks by their names, and a layer of a teacher with one of a student."""

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from app.contracts.base import Contract, left_out

LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-/:]{1,200}$")]
LayerPooling = Literal["mean", "first"]
"""How the vectors of a layer become one vector a row."""
Rename = Callable[[LayerName], LayerName]


class LayerPair(Contract):
    """A layer of the teacher, and the layer of the student that is compared with it."""

    teacher_layer: LayerName = Field(description="A layer of the teacher, as `GET /v1/models/{id}/layers` lists it.")
    student_layer: LayerName = Field(description="A layer of the student, by the names of its family.")
    pool: LayerPooling | None = Field(
        default=None,
        exclude_if=left_out,
        description="Compare one vector a row: `mean` is that over the tokens of a row, without padding, or over the "
        "places of maps; `first` is the vector of the first token. A layer that has one vector a row stays as it is. "
        "For networks with other numbers of tokens, or with another tokenizer, whose tokens are not compared one by "
        "one.",
    )

    def with_student_layers(self, rename: Rename) -> Self:
        """The pair with another name of the student's layer."""
        return self.model_copy(update={"student_layer": rename(self.student_layer)})
