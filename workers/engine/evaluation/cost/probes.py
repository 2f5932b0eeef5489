"""Processes that measure the peak memory of files: `python -m workers.engine.evaluation.cost.probes COMMAND…`.

For a process that must not start others: this one does it. It answers each line of its input, pairs as JSON, by a line
with what `measure` returns. COMMAND: what runs a Python file. Little is imported, so that it starts at once.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

Pair = Sequence[str]
"""(file, its rows as npz)"""
_SECONDS = 60.0
_MOST = 64
"""Processes at once for another process, which is not trusted."""
_PROGRAM = Path(__file__).with_name("memory_probe.py")


def measure(pairs: Sequence[Pair], command: Sequence[str] = (sys.executable, "-I")) -> list[int | None]:
    """Bytes of each, above those of a process that loads the runtime and no file; None where its process fails, or
    takes above a minute. All processes run at once, and share the minute.
    """
    probes = [_probe(*pair, command=command) for pair in pairs]
    deadline = time.monotonic() + _SECONDS
    printed = [_output(each, deadline) for each in probes]
    return [int(text) if text.isdigit() else None for text in printed]


def _probe(file: str, rows: str, *, command: Sequence[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(_PROGRAM), file, rows],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def _output(probe: "subprocess.Popen[str]", deadline: float) -> str:
    """What a process printed; nothing where it takes longer."""
    try:
        return probe.communicate(timeout=max(0.0, deadline - time.monotonic()))[0].strip()
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return ""


def main(command: Sequence[str]) -> None:
    """Answer until the input ends, or asks for too many processes."""
    for line in sys.stdin:
        pairs = json.loads(line)
        if len(pairs) > _MOST:
            sys.exit(f"expected at most {_MOST} files at once, found {len(pairs)}: ask for fewer")
        print(json.dumps(measure(pairs, command)), flush=True)  # noqa: T201 (the answer)


if __name__ == "__main__":
    main(sys.argv[1:])
