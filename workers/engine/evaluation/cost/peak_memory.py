"""Peak memory of ONNX Runtime with each of several files, each in a fresh process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from workers.engine.data.formats.common import Array
from workers.engine.evaluation.cost.latency import BATCH_SIZES
from workers.engine.evaluation.cost.measured import MeasuredFile

_SECONDS = 60.0
_PROGRAM = Path(__file__).with_name("memory_probe.py")


def peak_memory(files: Sequence[MeasuredFile]) -> dict[str, int]:
    """Bytes by party, above those of a process that loads the runtime and no file; all processes run at once. Parties
    whose process fails, or takes above a minute, are left out.
    """
    with TemporaryDirectory() as folder:
        probes = {file.party: _probe(file, Path(folder) / f"{i}.npz") for i, file in enumerate(files)}
        printed = {party: _output(probe) for party, probe in probes.items()}
    return {party: int(text) for party, text in printed.items() if text.isdigit()}


def _probe(file: MeasuredFile, rows: Path) -> "subprocess.Popen[str]":
    batches = {f"{size}/{name}": _text(each) for size in BATCH_SIZES for name, each in file.batch(size).items()}
    np.savez(rows, **batches)  # type: ignore[arg-type]  # numpy's stub takes the names for its own settings
    command = [sys.executable, "-I", str(_PROGRAM), str(file.path), str(rows)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


def _output(probe: "subprocess.Popen[str]") -> str:
    """What a process printed; nothing where it takes too long."""
    try:
        return probe.communicate(timeout=_SECONDS)[0].strip()
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return ""


def _text(rows: Array) -> Array:
    """Text as numpy's own type: arrays of objects are pickled."""
    return rows.astype(np.str_) if rows.dtype == object else rows
