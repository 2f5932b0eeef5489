"""Does a model take the rows that its own form makes of files?"""

from app.contracts.problems import UserError
from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.forms import row_of


def check_form(facts: ModelFacts) -> None:
    """Raises UserError `shape_mismatch` for rows of another shape than the model's, and `input_mismatch` for a model
    with inputs beside that of files.
    """
    for name, transform in facts.inputs.items():
        if transform.form is None:
            continue
        if len(facts.inputs) > 1 or facts.reads_several_tensors:
            raise UserError(
                "input_mismatch",
                f"`inputs.{name}.form` makes rows of files, which is for a model of one input, and this one has "
                f"{max(len(facts.inputs), len(facts.input_shapes))}: leave `form` out, or fill others by `constant`",
            )
        row = row_of(transform.form)
        _, problem = inputs_read(facts, {name: row})
        if problem is not None:
            raise UserError(
                "shape_mismatch",
                f"`inputs.{name}.form` makes rows of shape {list(row)}, and the model takes {_taken(facts)}: give "
                "`form` the size of the model's rows",
            )


def _taken(facts: ModelFacts) -> str:
    shape = facts.input_shape or next(iter(facts.input_shapes.values()), ())
    return "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"
