"""Columns of inputs that are read as the same numbers: the same columns must stand in the same order."""

from collections.abc import Mapping, Sequence

from app.contracts.problems import listed
from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import InputFacts
from app.contracts.resources.manifests import InputTransform

Names = tuple[str, ...]


def check_columns(
    expected: Names | None, found: Names | None, owners: tuple[str, str], findings: Findings, pointer: str
) -> None:
    """A problem where the columns are the same in another order, a warning where they have other names. Nothing where
    they are not known, or not equally many. `owners`: who expects them and who has them, for the message.
    """
    if expected is None or found is None or expected == found or len(expected) != len(found):
        return
    first = next(i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
    at = f"number {first} of a row is `{found[first]}` in {owners[1]} and `{expected[first]}` in {owners[0]}"
    if sorted(expected) == sorted(found):
        findings.problem(
            pointer,
            "column_order_differs",
            f"expected the columns in the same order, and {at}: list them in the dataset's manifest as "
            f"{_in_order(expected)}",
        )
        return
    findings.warn(
        "column_names_differ",
        f"{at}, and they are read as the same number: if they are different quantities, list the columns in the same "
        "order in both manifests",
    )


def _in_order(columns: Names) -> str:
    return f"{listed(columns, most=20)}, in this order"


def check_model_columns(
    inputs: Mapping[str, InputTransform],
    read: Mapping[str, InputFacts],
    owner: str,
    findings: Findings,
    pointer: str,
) -> None:
    """Compare the columns that a model was trained on with those of the inputs that it reads, by name where both have
    the same names, else one after another.
    """
    if set(inputs) == set(read):
        pairs = [(transform.columns, read[name].columns) for name, transform in inputs.items()]
    else:
        pairs = [(_joined([each.columns for each in inputs.values()]), _joined([f.columns for f in read.values()]))]
    for expected, found in pairs:
        check_columns(expected, found, (owner, "the dataset"), findings, pointer)


def _joined(parts: Sequence[Names | None]) -> Names | None:
    """The columns of all parts; None where those of one are not known."""
    known = [part for part in parts if part is not None]
    return tuple(column for part in known for column in part) if len(known) == len(parts) and known else None
