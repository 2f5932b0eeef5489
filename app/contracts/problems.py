"""Errors in a client's input, and errors of jobs and inspections."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.contracts.base import Answer


class Problem(Answer):
    """One error at one place of a document."""

    pointer: str = Field(description="RFC 6901 JSON pointer to the place, e.g. `/student/hidden/0`.")
    code: str = Field(description="Stable code, e.g. `unknown_target`.")
    detail: str = Field(description="What was expected, what was found, and what can be done about it.")


class Chosen(Answer):
    """A value that the spec left out, and that the service chose."""

    value: int | float | str | dict[str, Any] = Field(description="The value, as the resolved spec has it.")
    because: str = Field(description="Why.")


ErrorClass = Literal["user", "infrastructure"]


class JobError(Answer):
    """Why a job failed."""

    code: str = Field(description="Stable code, e.g. `teacher_mismatch`, `crashed`, `invalid_input`.")
    error_class: ErrorClass = Field(
        alias="class",
        description="`user`: the input must change, a retry would fail in the same way; `infrastructure`: a worker or "
        "its machine failed.",
    )
    message: str = Field(description="What went wrong and what can be done about it.")

    model_config = ConfigDict(populate_by_name=True)


class Rejection(Answer):
    """Why an uploaded model or dataset was refused by its inspection."""

    code: str = Field(description="Stable code of the cause.")
    message: str = Field(description="What was expected, what was found, and what can be done about it.")


class UserError(Exception):
    """The user's input is invalid; a retry would fail in the same way. `row`: the row of a dataset that the message
    names, counted over all of its files.

    The engine raises it, the child turns it into exit status 42 and a `JobError` of class `user`.
    """

    def __init__(self, code: str, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.row = row

    def rename(self, message: str) -> None:
        """Replace the message by one that says more."""
        self.message = message
        self.args = (message,)


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first names, and how many more there are, for a message."""
    ordered = list(names)
    shown = ", ".join(f"`{name}`" for name in ordered[:most])
    return shown + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
