"""The comparison of an exported ONNX file with the engine: raw rows in, the same answers out."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.reports.report import OnnxCheck, OnnxOutputCheck
from app.contracts.resources.graph_names import answer_names
from app.contracts.resources.manifests import ClassOutput, OutputSpec, PositionOutput
from workers.engine.common.onnx_session import onnx_session
from workers.engine.data.formats.common import Array
from workers.engine.export.answers import answers
from workers.engine.export.causes import CheckedRows, cause_of
from workers.engine.losses.target_scaling import scale_of, standardised

TOLERANCE = 1e-4
_BLOCK = 1024
_ROUNDINGS = 2
"""How often a number may be rounded, in the type of the answers."""


def check_onnx(
    path: Path,
    rows: CheckedRows,
    outputs: Mapping[str, Tensor],
    tolerance: float = TOLERANCE,
    block: int = _BLOCK,
    kind: str = "ONNX",
) -> OnnxCheck:
    """Run the file in ONNX Runtime on raw rows (n >= 1) and compare its answers with those of the network's `outputs`
    for them ([n, size] by task, on the CPU). `kind`: what messages call the file.

    The first row is run alone, then `block` rows at once, so that a graph with a fixed batch size fails. `tolerance`
    bounds the difference of scores and probabilities, multiplied by the largest of them if that is above 1, and of
    standardised numbers in the same way. Raises UserError `export_mismatch` above it, or if an answer is not finite;
    the message names the column that the file reads otherwise, where there is one.
    """
    specs = rows.student.outputs
    expected = {name: values.numpy() for name, values in answers(specs, outputs).items()}
    found = _run(path, rows.feeds, list(expected), block)
    try:
        checks = {
            name: _compared(name, spec, expected[name], found[name], tolerance)
            for task, spec in specs.items()
            for name in answer_names(task, spec)
        }
    except _DiffersError as difference:
        cause = cause_of(path, rows)
        raise _mismatch(kind, f"{difference}: {cause}" if cause is not None else str(difference)) from None
    worst = max(checks.values(), key=lambda each: each.max_abs_difference / each.tolerance)
    changed = sum(
        int((found[name].argmax(-1) != expected[name].argmax(-1)).sum())
        for task, spec in specs.items()
        if isinstance(spec, ClassOutput | PositionOutput)
        for name in answer_names(task, spec)[:1]
    )
    return OnnxCheck(
        max_abs_difference=worst.max_abs_difference,
        tolerance=worst.tolerance,
        rows=len(next(iter(found.values()))),
        opset=_opset(path),
        outputs=checks,
        classes_changed=changed,
    )


def _run(path: Path, rows: Mapping[str, Array], names: list[str], block: int) -> dict[str, Array]:
    session = onnx_session(path, torch.get_num_threads())
    parts = [session.run(names, part) for part in _blocks(rows, block)]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _blocks(rows: Mapping[str, Array], block: int) -> Iterator[dict[str, Array]]:
    count = len(next(iter(rows.values())))
    for first in (0, *range(1, count, block)):
        last = 1 if first == 0 else first + block
        yield {name: values[first:last] for name, values in rows.items()}


def _compared(name: str, spec: OutputSpec, expected: Array, found: Array, tolerance: float) -> OnnxOutputCheck:
    """The column of an answer that is closest to its tolerance, or furthest above it."""
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        raise _DiffersError(
            f"`{name}` is {found.dtype} {list(found.shape)}, expected {expected.dtype} {list(expected.shape)}"
        )
    expected, found = (each.reshape(-1, each.shape[-1]) for each in (expected, found))
    differences = np.abs(found.astype(np.float64) - expected)
    difference = differences.max(axis=0)
    allowed = _allowed(spec, torch.from_numpy(expected).double(), tolerance, float(np.finfo(expected.dtype).eps))
    wrong = ~(difference <= allowed)
    column = int(np.argmax(wrong) if wrong.any() else np.argmax(difference / allowed))
    if wrong.any():
        rows = int((~(differences <= allowed)).any(axis=1).sum())
        raise _DiffersError(
            f"`{name}` differs from the engine's by up to {difference[column]:.3g} on {rows} of {len(expected)} rows, "
            f"and {allowed[column]:.3g} is allowed"
        )
    return OnnxOutputCheck(max_abs_difference=float(difference[column]), tolerance=float(allowed[column]))


def _allowed(spec: OutputSpec, expected: Tensor, tolerance: float, epsilon: float) -> Array:
    """The largest difference of each column [size]."""
    scale = scale_of(spec, expected)
    if scale is None:
        return np.full(expected.shape[1], tolerance * max(1.0, float(expected.abs().max())))
    standard = float(standardised(expected, spec).abs().max())
    rounding = _ROUNDINGS * epsilon * expected.abs().amax(dim=0)
    return (tolerance * max(1.0, standard) * scale[1] + rounding).numpy()


class _DiffersError(Exception):
    """An answer is of another type, or differs by more than is allowed; the message says where and by how much."""


def _mismatch(kind: str, what: str) -> UserError:
    return UserError(
        "export_mismatch",
        f"the {kind} file's answer {what}: use the safetensors file, or report this architecture and dataset",
    )


def _opset(path: Path) -> int:
    model = onnx.load(path, load_external_data=False)
    return max(int(entry.version) for entry in model.opset_import if entry.domain == "")
