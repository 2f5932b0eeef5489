"""Golden files: compared with what the code gives now, or written anew by `make golden`."""

import os
from pathlib import Path

HERE = Path(__file__).parent


def held(name: str, text: str) -> None:
    """Compare with the golden file, or write it where `make golden` says so."""
    if os.environ.get("STILLHOUSE_GOLDEN") == "write":
        (HERE / name).write_text(text)
    assert text == (HERE / name).read_text(), f"tests/golden/{name} differs: if that is meant, run `make golden`"
