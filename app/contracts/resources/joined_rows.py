"""Rows of several datasets as one graph takes them: in the form of the first, in a type that holds what all have.

Used where a job is submitted, to tell what no graph can take before anything is trained, and where its rows are read.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from app.contracts.resources.raw_rows import RawInput, RawType, Spellings
from app.contracts.resources.tables import InputEncoding

_BITS: Final[dict[RawType, tuple[int, int]]] = {
    "bool": (0, 1),
    "uint8": (0, 8),
    "int8": (7, 7),
    "uint16": (0, 16),
    "int16": (15, 15),
    "uint32": (0, 32),
    "int32": (31, 31),
    "uint64": (0, 64),
    "int64": (63, 63),
    "float16": (11, 11),
    "float32": (24, 24),
    "float64": (53, 53),
}
"""Types in the order in which one is chosen: the bits of the whole numbers that each holds, below zero and above."""


@dataclass(frozen=True)
class InputPart:
    """One input of a dataset. `has_gaps`: whether a number of it was missing and filled."""

    dataset: str
    form: RawInput
    encoding: InputEncoding | None
    has_gaps: bool


def joined_form(parts: Sequence[InputPart]) -> RawInput:
    """The form of the joined rows of at least one part; `refused` says why no graph takes all of them."""
    forms = [part.form for part in parts]
    if len(parts) == 1:
        return forms[0]
    types = {form.dtype for form in forms}
    # Categories of several types are text: as a number `true` would be 1, which is another category.
    as_text = len(types) > 1 and bool(_categories(parts[0]))
    return forms[0].model_copy(
        update={
            "dtype": "string" if as_text or "string" in types else _joined_type(types),
            "image": forms[0].image if all(form.image == forms[0].image for form in forms) else None,
            "audio": forms[0].audio if all(form.audio == forms[0].audio for form in forms) else None,
            "rows": "float64" if any(form.rows == "float64" for form in forms) else "float32",
            "spellings": _joined_spellings(forms),
            "refused": _refused(parts),
        }
    )


def fits(form: RawInput, joined: RawInput) -> bool:
    """Whether rows of this form are rows of the joined one, and were rounded as they are, whatever their columns are
    called.
    """
    kept = ("dtype", "spellings", "refused", "columns", "image", "audio", "tokens")
    same = {name: getattr(joined, name) for name in kept}
    return form.model_copy(update=same) == joined


def _joined_type(types: Set[RawType]) -> RawType:
    """The smallest type that holds the numbers of all, float64 where none does."""
    return next((each for each in _BITS if all(_holds(each, other) for other in types)), "float64")


def _holds(wide: RawType, other: RawType) -> bool:
    if other.startswith("float") and not wide.startswith("float"):
        return False
    return all(a >= b for a, b in zip(_BITS[wide], _BITS[other], strict=True))


def _joined_spellings(forms: Sequence[RawInput]) -> tuple[dict[str, str | None], ...]:
    columns = max((len(form.spellings) for form in forms), default=0)
    merged: list[dict[str, str | None]] = [{} for _ in range(columns)]
    for form in forms:
        for column, spelled in zip(merged, form.spellings, strict=False):
            column |= spelled
    return tuple(merged)


def _refused(parts: Sequence[InputPart]) -> str | None:
    first = parts[0]
    for part in parts:
        if part.form.refused is not None:
            return f"{part.dataset}: {part.form.refused}"
        theirs, ours = (each.encoding.fill if each.encoding is not None else None for each in (first, part))
        if theirs != ours and part.has_gaps:
            return (
                f"missing numbers of {part.dataset} are filled from its own training rows, and a graph fills them as "
                f"those of {first.dataset}: upload both as one file, fill them before uploading, or say `missing: zero`"
            )
    for i, names in enumerate(_categories(first)):
        for part in parts[1:]:
            text = _differs(_spelled(first.form, i), _spelled(part.form, i), names)
            if text is not None:
                return (
                    f"`{text[:60]}` in the column `{_column(first, i)}` means another category in {part.dataset} than "
                    f"in {first.dataset}: write it alike in both files"
                )
    return None


def _differs(theirs: Spellings, ours: Spellings, categories: Sequence[str]) -> str | None:
    """The first text that two files have for different categories. One that a single file has is a usual spelling in
    the other where it is the name of a category, or means none here.
    """
    for text in (*theirs, *ours):
        if text in theirs and text in ours:
            if theirs[text] != ours[text]:
                return text
        elif text in categories or (theirs if text in theirs else ours)[text] is None:
            return text
    return None


def _categories(part: InputPart) -> Sequence[Sequence[str]]:
    return (part.encoding.categories if part.encoding is not None else None) or ()


def _spelled(form: RawInput, column: int) -> Spellings:
    return form.spellings[column] if form.spellings else {}


def _column(part: InputPart, column: int) -> str:
    return part.encoding.columns[column] if part.encoding is not None else str(column)
