"""Peak memory of ONNX Runtime with each of several files, each in a fresh process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from workers.engine.common.progress import progress_while_alive
from workers.engine.data.formats.common import Array
from workers.engine.evaluation.cost.latency import BATCH_SIZES
from workers.engine.evaluation.cost.measured import MeasuredFile
from workers.engine.evaluation.cost.probes import Pair, measure

Measure = Callable[[Sequence[Pair]], Sequence[int | None]]
_measures: list[Measure] = [measure]
"""The last one is used."""


def peak_memory(files: Sequence[MeasuredFile]) -> dict[str, int]:
    """Bytes by party, above those of a process that loads the runtime and no file. Parties whose process fails, or
    takes above a minute, are left out.
    """
    with TemporaryDirectory() as folder:
        pairs = [(str(file.path), _write_rows(file, Path(folder) / f"{i}.npz")) for i, file in enumerate(files)]
        with progress_while_alive():  # the process that measures limits their time
            found = _measures[-1](pairs)
    return {file.party: size for file, size in zip(files, found, strict=True) if size is not None}


def measure_by(measure: Measure) -> None:
    """Measure so from now on: for a process that must not start others, by one that runs `probes`."""
    _measures.append(measure)


def _write_rows(file: MeasuredFile, path: Path) -> str:
    batches = {f"{size}/{name}": _text(each) for size in BATCH_SIZES for name, each in file.batch(size).items()}
    np.savez(path, **batches)  # type: ignore[arg-type]  # numpy's stub takes the names for its own settings
    return str(path)


def _text(rows: Array) -> Array:
    """Text as numpy's own type: arrays of objects are pickled."""
    return rows.astype(np.str_) if rows.dtype == object else rows
