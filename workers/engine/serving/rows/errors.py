"""Errors in the rows of a request, each with its place."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.contracts.problems import Problem, UserError, listed
from workers.engine.data.formats.common import MissingColumns

MOST_PROBLEMS = 50
"""Largest number of errors in one answer; further ones are left out."""
_LONGEST_TOKEN = 128
_LONGEST_NUMBER = 40
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
Item = TypeVar("Item")
Found = TypeVar("Found")

Place = Callable[[tuple[int, ...]], str]
"""The pointer to a number, by its row and its place in the row."""


class RowErrors(Exception):
    """What is wrong with the rows."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].detail)
        self.problems = problems[:MOST_PROBLEMS]


def at(pointer: str, code: str, detail: str) -> RowErrors:
    """A single error."""
    return RowErrors([Problem(pointer=pointer, code=code, detail=detail)])


def together(items: Iterable[Item], read: Callable[[Item], Found]) -> list[Found]:
    """`read` of each item. Raises the RowErrors of all of them as one."""
    found: list[Found] = []
    wrong: list[Problem] = []
    for item in items:
        try:
            found.append(read(item))
        except RowErrors as error:
            wrong += error.problems
        if len(wrong) >= MOST_PROBLEMS:
            break
    if wrong:
        raise RowErrors(wrong)
    return found


def pointer(*tokens: str | int) -> str:
    """An RFC 6901 pointer. It ends above a name that is too long to be shown."""
    found = ""
    for token in map(str, tokens):
        if len(token) > _LONGEST_TOKEN or not token.isprintable():
            break
        found += "/" + token.replace("~", "~0").replace("/", "~1")
    return found


def shown(number: float) -> str:
    """A number, shortened: JSON may have thousands of digits."""
    text = str(number)
    return text if len(text) <= _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}…"


def kind_of(value: Any) -> str:
    """What a value of JSON is, in words: a number itself, of others the kind."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"the number {shown(value)}"
    return _KINDS.get(type(value), "something else")


def within(*tokens: str | int) -> Place:
    """The places within a nested list at these tokens."""
    return lambda index: pointer(*tokens, *index)


@contextmanager
def errors_of_file(columns: Iterable[str], written: str = "") -> Iterator[None]:
    """Errors of the readers of files, which name the place in words, as errors of the rows. `columns`: those needed;
    `written`: how they are separated.
    """
    try:
        yield
    except UserError as error:
        if error.code == "empty_dataset":
            raise at("", "no_rows", "expected one row or more, found none: send one") from None
        if isinstance(error, MissingColumns):
            found = listed([name[:_LONGEST_TOKEN] for name in error.available]) or "none"
            detail = f"expected {listed(sorted(columns))}{written}, as in the dataset's file, found {found}"
            raise at("", "missing_column", f"{detail}: send whole rows") from None
        raise RowErrors([Problem(pointer="", code=error.code, detail=error.message)]) from None
