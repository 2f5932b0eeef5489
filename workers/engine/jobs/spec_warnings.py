"""What the resolution of a job's spec warned of, as its first attempt found it.

Later attempts are given the spec as it was frozen, in which a thing that was left out leaves no trace.
"""

from pathlib import Path

from app.contracts.wire.orders import Order
from workers.engine.common.files import read_document, write_document


def resolution_warnings(order: Order) -> list[dict[str, str]]:
    """{code, message} of each, the same in all attempts of a job."""
    path = Path(order.checkpoints_dir) / "warnings.json"
    kept = read_document(path)
    if kept is None:
        kept = {"warnings": list(order.warnings)}
        write_document(path, kept)
    found: list[dict[str, str]] = kept["warnings"]
    return found
