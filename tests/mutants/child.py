"""The child of the campaign: a worker's own child, which then reads again what it took for sound."""

import traceback
from pathlib import Path

from app.contracts.wire.orders import OUTCOME, ExitCode, InspectionOutcome, Order
from tests.mutants.second_read import Differs, read_again
from workers import child

SECOND_READ = "second_read.txt"
"""Empty where the second read agreed."""


def main(directory: str, control: int) -> int:
    """Inspect as `workers.child` does, in its sandbox; then read a sound upload again."""
    status = child.main(directory, control)
    if status == ExitCode.DONE:
        folder = Path(directory)
        outcome = OUTCOME.validate_json((folder / "outcome.json").read_bytes())
        order = Order.model_validate_json((folder / "order.json").read_bytes())
        if isinstance(outcome, InspectionOutcome) and outcome.rejection is None:
            (folder / SECOND_READ).write_text(_difference(order, outcome))
    return status


def _difference(order: Order, outcome: InspectionOutcome) -> str:
    try:
        read_again(order, outcome)
    except Differs as error:
        return f"second read: {error}"
    except Exception:  # what the second reader cannot read is no sound upload either
        return f"second read failed: {traceback.format_exc(limit=-2)}"
    return ""
