"""Peak memory of ONNX Runtime with each of several files, each in a fresh process."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from workers.engine.data.formats.common import Array
from workers.engine.evaluation.cost.latency import BATCH_SIZES
from workers.engine.evaluation.cost.measured import MeasuredFile

_SECONDS = 60.0
_PROGRAM = Path(__file__).with_name("memory_probe.py")


Measure = Callable[[Sequence[tuple[str, str]]], Sequence[int | None]]
"""Pairs of (file, its rows as npz) -> the bytes of each; None where its process failed."""


def peak_memory(files: Sequence[MeasuredFile]) -> dict[str, int]:
    """Bytes by party, above those of a process that loads the runtime and no file; all processes run at once. Parties
    whose process fails, or takes above a minute, are left out.
    """
    with TemporaryDirectory() as folder:
        pairs = [(str(file.path), _write_rows(file, Path(folder) / f"{i}.npz")) for i, file in enumerate(files)]
        found = _measure[-1](pairs)
    return {file.party: size for file, size in zip(files, found, strict=True) if size is not None}


def measure_by_processes(
    pairs: Sequence[tuple[str, str]], command: Sequence[str] = (sys.executable, "-I")
) -> list[int | None]:
    """Start a process for each pair. `command`: what runs a Python file."""
    probes = [_probe(file, rows, command) for file, rows in pairs]
    printed = map(_output, probes)
    return [int(text) if text.isdigit() else None for text in printed]


_measure: list[Measure] = [measure_by_processes]
"""The last one is used."""


def use(measure: Measure) -> None:
    """Measure so from now on: for a process that must not start others."""
    _measure.append(measure)


def _write_rows(file: MeasuredFile, path: Path) -> str:
    batches = {f"{size}/{name}": _text(each) for size in BATCH_SIZES for name, each in file.batch(size).items()}
    np.savez(path, **batches)  # type: ignore[arg-type]  # numpy's stub takes the names for its own settings
    return str(path)


def _probe(file: str, rows: str, command: Sequence[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(_PROGRAM), file, rows],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


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
