"""What other libraries raise about the data of a caller, as Unreadable: one mechanism for all sources."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stillhouse.errors import StillhouseError, Unreadable

_OF_DATA: Final = (
    TypeError, ValueError, OverflowError, RuntimeError, AttributeError, LookupError, ArithmeticError,
)  # fmt: skip
"""With their subclasses: UnicodeError is a ValueError, NotImplementedError and RecursionError are RuntimeErrors.
Errors of pyarrow are told by their module, since some are none of these, such as ArrowCapacityError.
"""
_LONGEST: Final = 300


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around the conversion of `what` by numpy, pandas, pyarrow or torch. Raises Unreadable with its name."""
    try:
        yield
    except (StillhouseError, MemoryError):
        raise
    except Exception as error:
        if not isinstance(error, _OF_DATA) and not type(error).__module__.startswith("pyarrow"):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]
        shown = reason.encode("utf-8", "backslashreplace").decode()
        raise Unreadable(f"expected {what} to hold what an upload can carry, found {shown}: convert it") from error


def expanded(path: str | Path) -> Path:
    """A path with `~` as the home it stands for. Raises Unreadable for what is no path, and without that home."""
    try:
        found = Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise Unreadable(f"expected a path, found: {error}: write it out in full") from None
    if "\0" in str(found):
        raise Unreadable("expected a path, found one with a zero byte: leave it out")
    return found
