"""Classes of joined datasets where some datasets name them and others number them."""

import re
from collections.abc import Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import TargetFacts
from app.contracts.resources.manifests import ClassOutput, OutputSpec, PositionOutput

_DIGITS = re.compile(r"(0|[1-9]\d{0,5})(\.0*)?")
_SHOWN = 5
Having = tuple[int, str, TargetFacts]
"""(place among the job's datasets, id, the target there)."""


def places_of_numbers(names: Sequence[str]) -> tuple[int, ...]:
    """For each class number from 0 its place among `names`: that of the name which is the same number where the names
    are all numbers from 0, else the number itself.
    """
    found = [_DIGITS.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in found if match is not None]
    if sorted(numbers) != list(range(len(names))):
        return tuple(range(len(names)))
    return tuple(numbers.index(number) for number in range(len(names)))


def warn_of_numbers(name: str, having: Sequence[Having], findings: Findings) -> None:
    """Warn where the class numbers of one dataset are read as the names of another. Names that are these numbers, in
    their order, need no warning.
    """
    named = [(each, target.classes) for _, each, target in having if target.classes is not None]
    numbered = [each for _, each, target in having if target.kind == "class" and target.classes is None]
    if not named or not numbered:
        return
    first, classes = named[0]
    places = places_of_numbers(classes)
    by_place = places == tuple(range(len(classes)))
    if by_place and all(_is_number(text, number) for number, text in enumerate(classes)):
        return
    shown = ", ".join(f"{number} as `{classes[place]}`" for number, place in enumerate(places[:_SHOWN]))
    where = f"the classes of `{name}` are numbers in {', '.join(numbered)} and names in {first}"
    more = ", …" if len(classes) > _SHOWN else ""
    if by_place:
        findings.warn(
            "classes_matched_by_place",
            f"{where}; the numbers were read as places among the names, {shown}{more}: if that is another order than "
            "the numbers mean, list the names in the order of the numbers in both manifests",
        )
    else:
        findings.warn("classes_matched_by_name", f"{where}; each number was read as the name that it is: {shown}{more}")


def _is_number(text: str, number: int) -> bool:
    match = _DIGITS.fullmatch(text)
    return match is not None and int(match[1]) == number


def names_of(spec: OutputSpec) -> tuple[str, ...] | None:
    """The names of the classes of an output; None where it says none, and for outputs without classes."""
    return spec.classes if isinstance(spec, ClassOutput | PositionOutput) else None
