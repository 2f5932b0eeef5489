"""The outputs of a graph by the manifest's names, and whether they are what the manifest says."""

import json
from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import OutputFacts
from app.contracts.resources.manifests import ClassOutput, MapOutput, ModelManifest, MultilabelOutput, OutputSpec
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.data.quality.one_score import two_scores
from workers.engine.jobs.inspection.family_models import check_output
from workers.engine.jobs.inspection.graphs.first_trial import FirstTrial, TrialRows
from workers.engine.jobs.inspection.graphs.inputs import FedInput, plain_name
from workers.engine.jobs.inspection.trial import RowKind

Arrays = Mapping[str, NDArray[np.generic]]
_REFERENCE = ", and the reference rows"


def matched(manifest: ModelManifest, outputs: Arrays) -> tuple[dict[str, str], tuple[dict[str, str], ...]]:
    """(the graph's name of each output of the manifest, what was taken, as warnings). Raises UserError
    `missing_output`.

    A single output matches whatever its name, also the single one of floats. Then by `rename`, by name, by name with
    other letters replaced, as an export of this service names what the manifest describes (`digit.logits` for the
    logits of `digit`), and the last one of each side where one of each is left.
    """
    if len(manifest.outputs) == 1:
        wanted = next(iter(manifest.outputs))
        floats = [name for name, values in outputs.items() if values.dtype.kind == "f"]
        exact = [name for name in outputs if wanted in (name, manifest.rename.get(name))]
        answers = [name for name in outputs if name.endswith(_ending(manifest.outputs[wanted]))]
        if not exact and len(answers) == 1:
            return {wanted: answers[0]}, ()
        if not exact and (len(outputs) == 1 or len(floats) == 1):
            return {wanted: next(iter(outputs)) if len(outputs) == 1 else floats[0]}, ()
    found: dict[str, str] = {}
    own = {f"{name}{_ending(spec)}": name for name, spec in manifest.outputs.items()}
    for spelled in (manifest.rename.get, str, plain_name, own.get):
        for name in outputs:
            wanted_name = spelled(name)
            if wanted_name in manifest.outputs and wanted_name not in found and name not in found.values():
                _check_single(wanted_name, [other for other in outputs if spelled(other) == wanted_name])
                found[wanted_name] = name
    left = [name for name in manifest.outputs if name not in found]
    free = [name for name in outputs if name not in found.values() and name not in manifest.rename]
    notes: tuple[dict[str, str], ...] = ()
    if len(left) == len(free) == 1:
        found[left[0]] = free[0]
        notes = (_taken(left[0], free[0]),)
    elif left:
        raise UserError(
            "missing_output",
            f"the graph has no output {sorted(left)}: it has {sorted(outputs)}. Use these names in `outputs`, or map "
            "them with `rename`",
        )
    return {name: found[name] for name in manifest.outputs}, notes


def _ending(spec: OutputSpec) -> str:
    """Of the name that an export of this service gives to such an output."""
    if isinstance(spec, MapOutput):
        return ".logits"
    return f".{spec.output}" if isinstance(spec, ClassOutput | MultilabelOutput) else f".{spec.kind}"


def _taken(name: str, graph_name: str) -> dict[str, str]:
    message = (
        f"the output `{name}` was taken to be the graph's `{graph_name}`, the only one left: say so by `rename`, or "
        "map another to it"
    )
    return {"code": "output_taken", "message": message}


def _check_single(wanted: str, names: list[str]) -> None:
    if len(names) > 1:
        raise UserError("missing_output", f"`{wanted}` may be any of {sorted(names)}: say which by `rename`")


def check_outputs(manifest: ModelManifest, names: Mapping[str, str], trial: FirstTrial) -> dict[str, OutputFacts]:
    """The facts of all outputs for the rows of the first trial. Raises UserError `wrong_output`."""
    return {name: _output(manifest, name, trial.outputs[graph], trial) for name, graph in names.items()}


def _output(manifest: ModelManifest, name: str, values: NDArray[np.generic], trial: FirstTrial) -> OutputFacts:
    rows = trial.count
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
    spec, size = manifest.outputs[name], prod(values.shape[1:])
    if isinstance(spec, MapOutput):
        return check_output(name, spec, _classes_of_map(name, spec, values.shape, trial.rows))
    return check_output(name, spec, two_scores(spec, torch.zeros(1, size)).shape[1])


def _classes_of_map(name: str, spec: MapOutput, shape: tuple[int, ...], rows: TrialRows) -> int:
    if len(shape) != 4 or shape[2:] != spec.shape:
        way_out = _shapes_of_rows(spec, shape[2:], rows) or "correct `shape`"
        raise UserError(
            "wrong_output",
            f"`{name}` has shape {list(shape)}, expected scores of the classes of each pixel, [rows, classes, "
            f"{spec.shape[0]}, {spec.shape[1]}] by its `shape`: {way_out}, or export the graph with the classes second",
        )
    return shape[1]


def _shapes_of_rows(spec: MapOutput, sides: tuple[int, ...], rows: TrialRows) -> str | None:
    """The way out where the graph leaves sizes of rows open: shapes of rows for which the map has its `shape`, if its
    sides change in proportion to theirs.
    """
    opened = [each for each in rows.inputs.fed if each.is_open]
    if not opened:
        return None
    shown = {each.name: {"shape": _in_proportion(each, rows.shapes[each.name], spec.shape, sides)} for each in opened}
    tried = ", ".join(f"`{each.name}` {list(rows.shapes[each.name])}" for each in opened)
    return f'the graph ran on rows of open size ({tried}): fix it by "inputs": {json.dumps(shown, ensure_ascii=False)}'


def _in_proportion(
    fed: FedInput, tried: tuple[int, ...], wanted: tuple[int, int], found: tuple[int, ...]
) -> list[int | str]:
    """The shape of a row with its two open sides in proportion to the map's; "…" for sides that do not follow."""
    places = [i for i, side in enumerate(fed.row) if side is None]
    shape: list[int | str] = ["…" if side is None else side for side in fed.row]
    if len(places) != 2 or len(found) != 2:
        return shape
    for place, want, got in zip(places, wanted, found, strict=True):
        if got and want * tried[place] % got == 0:
            shape[place] = want * tried[place] // got
    return shape


def check_numbers(manifest: ModelManifest, samples: Iterable[tuple[RowKind, Mapping[str, Tensor]]]) -> RowKind | None:
    """Check what the outputs mean on the rows for which they are finite; returns the kind of rows for all of which they
    are, if there is one.

    `samples` are the outputs [n, size] for several kinds of rows, read until each output has been finite for all rows
    of one. Raises UserError `not_finite` where an output is finite for no row, `wrong_output`.
    """
    finite: dict[str, list[NDArray[np.float64]]] = {name: [] for name in manifest.outputs}
    waiting, last = set(finite), None
    for kind, outputs in samples:
        for name in sorted(waiting):
            values = outputs[name].double().numpy()
            known = np.isfinite(values).all(axis=1)
            finite[name].append(values[known])
            waiting -= {name} if known.all() else set()
        if not waiting:
            last = kind
            break
    for name, parts in finite.items():
        if not sum(map(len, parts)):
            raise UserError(
                "not_finite",
                f"`{name}` is NaN or infinite for every row that was tried (random normal and positive numbers, whole "
                f"numbers from 0 to 255, zeros, ones and a ramp{_REFERENCE if manifest.reference else ''}), expected "
                "finite numbers: check its `inputs`, or give rows that it takes as `reference`",
            )
        check_meaning(name, manifest.outputs[name], np.concatenate(parts))
    return last
