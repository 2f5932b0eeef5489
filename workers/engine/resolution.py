"""What the resolution of a job's spec warned of, as its first attempt found it.

Later attempts are given the spec as it was frozen, in which a thing that was left out leaves no trace.
"""

import json
from pathlib import Path

from app.contracts.orders import Order
from workers.engine.files import write_whole


def resolution_warnings(order: Order) -> list[dict[str, str]]:
    """{code, message} of each, the same in all attempts of a job."""
    path = Path(order.checkpoints_dir) / "warnings.json"
    if not path.exists():
        write_whole(path, json.dumps(list(order.warnings)).encode())
    found: list[dict[str, str]] = json.loads(path.read_text())
    return found
