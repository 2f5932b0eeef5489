"""Children of the worker's own tests, which also look whether they have their slot alone."""

from pathlib import Path

from tests.faults.checks.slot_users import sole_user_of_slot
from tests.integration.worker import entries


def behave(attempt_dir: str, control: int) -> int:
    """The entry."""
    sole_user_of_slot(Path(attempt_dir))
    return entries.behave(attempt_dir, control)
