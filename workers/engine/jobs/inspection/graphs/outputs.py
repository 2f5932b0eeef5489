"""The outputs of a graph by the manifest's names, and whether they are what the manifest says."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import ModelManifest
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.quality.one_score import class_scores
from workers.engine.jobs.inspection.family_models import check_output
from workers.engine.jobs.inspection.graphs.inputs import plain_name

Arrays = Mapping[str, NDArray[np.generic]]


def matched(manifest: ModelManifest, outputs: Arrays) -> dict[str, str]:
    """The graph's name of each output of the manifest. Raises UserError `missing_output`.

    A single output matches whatever its name, also the single one of floats. Then by `rename`, by name, by name with
    other letters replaced, and what is left in order where equally many are left.
    """
    if len(manifest.outputs) == 1:
        wanted = next(iter(manifest.outputs))
        floats = [name for name, values in outputs.items() if values.dtype.kind == "f"]
        exact = [name for name in outputs if wanted in (name, manifest.rename.get(name))]
        if not exact and (len(outputs) == 1 or len(floats) == 1):
            return {wanted: next(iter(outputs)) if len(outputs) == 1 else floats[0]}
    found: dict[str, str] = {}
    for spelled in (manifest.rename.get, str, plain_name):
        for name in outputs:
            wanted_name = spelled(name)
            if wanted_name in manifest.outputs and wanted_name not in found and name not in found.values():
                _check_single(wanted_name, [other for other in outputs if spelled(other) == wanted_name])
                found[wanted_name] = name
    left = [name for name in manifest.outputs if name not in found]
    free = [name for name in outputs if name not in found.values() and name not in manifest.rename]
    if left and len(left) == len(free):
        found |= dict(zip(left, free, strict=True))
    elif left:
        raise UserError(
            "missing_output",
            f"the graph has no output {sorted(left)}: it has {sorted(outputs)}. Use these names in `outputs`, or map "
            "them with `rename`",
        )
    return {name: found[name] for name in manifest.outputs}


def _check_single(wanted: str, names: list[str]) -> None:
    if len(names) > 1:
        raise UserError("missing_output", f"`{wanted}` may be any of {sorted(names)}: say which by `rename`")


def check_outputs(
    manifest: ModelManifest, names: Mapping[str, str], outputs: Arrays, rows: int
) -> dict[str, OutputFacts]:
    """The facts of all outputs for random rows. Raises UserError `wrong_output`, `not_finite`."""
    return {name: _output(manifest, name, outputs[graph], rows) for name, graph in names.items()}


def _output(manifest: ModelManifest, name: str, values: NDArray[np.generic], rows: int) -> OutputFacts:
    spec = manifest.outputs[name]
    if values.shape[:1] == (0,):
        raise UserError(
            "wrong_output",
            f"`{name}` has shape {list(values.shape[1:])} for a batch of fixed size, expected [batch, size]: export "
            "the graph without squeezing its output, so that the first dimension is the batch, best with a dynamic one",
        )
    if values.dtype.kind != "f" or values.shape[:1] != (rows,):
        hint = "name another output, or cast it in the graph"
        if values.dtype.kind == "O":
            hint = "a list of dictionaries, as ZipMap makes it? Convert the model with `zipmap=False`"
        elif values.dtype.kind in "iub":
            hint = "class labels? Choose the output with scores"
        elif values.shape[:1] == (1,):
            hint = "was the batch size fixed when the graph was exported? Export it with a dynamic batch dimension"
        raise UserError(
            "wrong_output",
            f"`{name}` is {values.dtype} of shape {list(values.shape)} for {rows} rows, expected float "
            f"[{rows}, size]: {hint}",
        )
    numbers = values.reshape(rows, -1).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise UserError("not_finite", f"`{name}` is NaN or infinite for random normal rows: check its `inputs`")
    check_meaning(name, spec, numbers)
    return check_output(name, spec, class_scores(spec, torch.from_numpy(numbers)).shape[1])
