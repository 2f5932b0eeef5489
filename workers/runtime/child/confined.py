"""`python -m workers.runtime.child.confined ALLOWED PROGRAM ARGUMENT…`: a program, in the sandbox of a child.

ALLOWED: an `Allowed` as JSON. PROGRAM: a Python file. Nothing that starts threads is imported before.
"""

import json
import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workers.runtime.child.sandbox import Allowed, confine


def confined_command(allowed: Allowed) -> list[str]:
    """The command line to which a program and its arguments are appended."""
    text = json.dumps(asdict(allowed), default=str)
    return [sys.executable, "-P", "-m", "workers.runtime.child.confined", text]


def _allowed(text: str) -> Allowed:
    document: dict[str, Any] = json.loads(text)
    paths: dict[str, Any] = {name: tuple(map(Path, document[name])) for name in ("readable", "writable")}
    return Allowed(**{**document, **paths, "folder": Path(document["folder"])})


def main(allowed: str, program: str, *arguments: str) -> None:
    """Confine this process, then run the program as `python PROGRAM ARGUMENT…` does."""
    confine(_allowed(allowed))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
