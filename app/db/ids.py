"""Public ids: a prefix and a UUIDv7 (RFC 9562), which sorts by time of creation."""

from typing import Literal

import uuid_utils

Prefix = Literal["mdl", "ds", "job", "key"]


def new_id(prefix: Prefix) -> str:
    """A new id such as `job_0190…`; ids of one process are strictly increasing."""
    return f"{prefix}_{uuid7()}"


def uuid7() -> str:
    """A new UUIDv7 as text."""
    return str(uuid_utils.uuid7())
