"""Pagination: newest first, with an opaque cursor."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import Field

from app.contracts.base import Answer
from app.http.errors import BadRequest

T = TypeVar("T")

MOST = 200
Limit = Annotated[int, Query(ge=1, le=MOST, description="Largest number of entries in the page.")]
After = Annotated[
    str | None,
    Query(
        max_length=200,
        description="`next` of the previous page; the first page when left out.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    ),
]


class Page(Answer, Generic[T]):
    """One page of a list."""

    data: tuple[T, ...] = Field(description="Entries of this page.")
    has_more: bool = Field(description="Whether further entries follow.")
    next: str | None = Field(description="Opaque; send it as `after` for the next page. null on the last one.")


def encode_cursor(last: str) -> str:
    """The cursor of the page after the entry `last`."""
    return base64.urlsafe_b64encode(f"1:{last}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """The id that a page begins after; raises BadRequest."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    version, _, last = text.partition(":")
    if version != "1" or not last or not last.isprintable():
        raise BadRequest(
            "invalid_cursor", "expected `after` to be the `next` of an earlier page, unchanged: begin again without it"
        )
    return last


def page_of(entries: Sequence[tuple[str, T]], limit: int) -> Page[T]:
    """A page from up to `limit + 1` entries with their ids. The last one, if present, shows that more follow."""
    shown = entries[:limit]
    more = len(entries) > limit
    return Page(
        data=tuple(view for _, view in shown), has_more=more, next=encode_cursor(shown[-1][0]) if more else None
    )


def page_json(entries: Sequence[tuple[str, str]], limit: int) -> str:
    """The same as JSON, of entries that are JSON already."""
    shown = entries[:limit]
    more = len(entries) > limit
    following = f'"{encode_cursor(shown[-1][0])}"' if more else "null"
    data = ",".join(view for _, view in shown)
    return f'{{"data":[{data}],"has_more":{"true" if more else "false"},"next":{following}}}'
