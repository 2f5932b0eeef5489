"""Labels for each token of a row."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from app.contracts.base import ClassName, Column, Contract, Name, left_out
from app.contracts.resources.inputs.texts import TextInput, TokensInput

IGNORED: Final = (-1, -100)
"""Labels that mean none."""


class TokenClassTarget(Contract):
    """One class of several for each token of a row: a list of labels, as long as that of the row's tokens or words.

    A missing label is -1, -100 or null, and so are all where there is no list. Of a word of several tokens the first
    one has the label.
    """

    kind: Literal["token_class"]
    column: Column | None = Field(
        default=None, description="Column or npz key of the lists; the target's name when left out."
    )
    classes: (
        Annotated[int, Field(ge=2, le=65_536)]
        | Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)]
    ) = Field(description="Number of classes (labels are integers from 0), or the class names in order.")
    input: Name | None = Field(
        default=None,
        exclude_if=left_out,
        description="The input whose tokens are labelled; may be left out where the dataset has only one of tokens.",
    )


def labelled_input(name: str, target: TokenClassTarget, inputs: Mapping[str, object]) -> str:
    """The input whose tokens a target labels. Raises ValueError where that is none, or not clear."""
    known = [each for each, spec in inputs.items() if isinstance(spec, TextInput | TokensInput)]
    found = known if target.input is None else [each for each in known if each == target.input]
    if len(found) != 1:
        shown = ", ".join(f"`{each}`" for each in known) or "none"
        raise ValueError(
            f"`{name}` labels the tokens of one input of kind `tokens` or `text`, found {shown}: name it in "
            f"`targets.{name}.input`"
        )
    spec = inputs[found[0]]
    if isinstance(spec, TextInput) and len(spec.columns or ()) > 1:
        raise ValueError(f"`{name}` labels the words of one column, and `{found[0]}` reads pairs: list one column")
    return found[0]
