"""Reading what a write has done."""

from sqlalchemy import CursorResult


def rows_changed(result: object) -> int:
    """How many rows an INSERT, UPDATE or DELETE changed."""
    assert isinstance(result, CursorResult)
    return result.rowcount
