"""Rows as a person sends them to an exported graph, and the engine's answers for them: what a file is tried out with
where it will run.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from app.contracts.resources.manifests import OutputSpec
from workers.engine.data.formats.common import Array
from workers.engine.export.answers import answers

INPUTS, ANSWERS = "inputs", "answers"


def write_reference(
    path: Path,
    rows: Mapping[str, Array],
    outputs: Mapping[str, Tensor],
    specs: Mapping[str, OutputSpec],
    others: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write an npz with `inputs/<name>` [n, …] for each of the graph's inputs and `answers/<name>` [n, size] for each
    of its outputs, and `answers/<file>/<name>` for the answers of other files.

    `rows` by the graph's names, in the types of its inputs; `outputs`: those of the network for them ([n, size] by
    task, on the CPU); `others`: those of quantized files, by their names. Nothing is pickled, and equal rows give equal
    bytes.
    """
    arrays = {f"{INPUTS}/{name}": _plain(values) for name, values in rows.items()}
    arrays |= {f"{ANSWERS}/{name}": values.numpy() for name, values in answers(specs, outputs).items()}
    for file, theirs in others.items():
        arrays |= {f"{ANSWERS}/{file}/{name}": values.numpy() for name, values in answers(specs, theirs).items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own settings


def _plain(values: Array) -> Array:
    """Text as numpy's own type: arrays of objects are pickled."""
    return values.astype(np.str_) if values.dtype == object else values
