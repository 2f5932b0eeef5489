"""Graphs that an export of this service wrote, from version 2 on: they take rows of a file and put out answers.

A teacher reads the rows of a dataset, whose categories are encoded and whose gaps are filled. So what the graph does to
rows of a file is cut off, and its inputs are the dataset's rows. Scale and statistics stay in the graph, and are left
out of the manifest where it repeats them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from pydantic import ValidationError

from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.resources.graph_names import GRAPH_VERSION
from app.contracts.resources.manifests import (
    InputTransform,
    ModelInputSpec,
    ModelManifest,
    OutputSpec,
    ValueOutput,
    VectorOutput,
)
from app.contracts.resources.raw_rows import RawInput
from workers.engine.export.graph_card import statistics_digest
from workers.engine.export.raw_student import row_shape
from workers.engine.export.row_nodes import element_type, rows_name
from workers.engine.jobs.inspection.graphs.inputs import names_here

Notes = tuple[dict[str, str], ...]


@dataclass(frozen=True)
class _StatedInput:
    """An input as the graph's metadata describe it. `statistics`: the digest of its means and deviations, of which
    brief metadata have no numbers.
    """

    form: RawInput
    transform: InputTransform
    statistics: str

    @property
    def left(self) -> ModelInputSpec:
        """What a manifest has still to say: where the numbers come from, and nothing that the graph does."""
        return ModelInputSpec(encoding=self.transform.encoding, columns=self.transform.columns)


def as_exported(model: onnx.ModelProto, manifest: ModelManifest) -> tuple[ModelManifest, Notes, bool]:
    """(the manifest without what the graph does itself, what was taken as warnings, whether `model` was changed).

    Raises UserError `bad_rename`.
    """
    document = _document(model)
    inputs = _inputs(document)
    if not inputs or {value.name for value in model.graph.input} != set(inputs):
        return manifest, (), False
    if not all(_is_made(model.graph, rows_name(name)) for name in inputs):
        return manifest, (), False
    for name, stated in inputs.items():
        _cut(model.graph, name, stated)
    outputs, notes = _in_own_units(manifest, document)
    specs, more = _without_transforms(manifest, inputs)
    return manifest.model_copy(update={"inputs": specs, "outputs": outputs}), (*notes, *more), True


def _document(model: onnx.ModelProto) -> Mapping[str, object]:
    written = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), "{}")
    try:
        document = json.loads(written)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and document.get("version") == GRAPH_VERSION else {}


def _inputs(document: Mapping[str, object]) -> dict[str, _StatedInput]:
    """By the graph's names; none where the metadata are not what an export writes."""
    stated = document.get("inputs")
    if not isinstance(stated, dict):
        return {}
    try:
        return {name: _stated(each) for name, each in stated.items()}
    except (ValidationError, KeyError, TypeError, ValueError):
        return {}


def _stated(document: Mapping[str, object]) -> _StatedInput:
    transform = InputTransform.model_validate_json(json.dumps(document["transform_in_graph"]))
    digest = document.get("statistics_sha256", statistics_digest(transform))
    return _StatedInput(RawInput.model_validate(document["form"]), transform, str(digest))


def _is_made(graph: onnx.GraphProto, rows: str) -> bool:
    return sum(rows in node.output for node in graph.node) == 1


def _cut(graph: onnx.GraphProto, name: str, stated: _StatedInput) -> None:
    """Make the dataset's rows the graph's input of this name, without the nodes before them."""
    rows = rows_name(name)
    own = [node for node in graph.node if any(output.startswith(f"{name}/") for output in node.output)]
    for node in own:
        graph.node.remove(node)
    for constant in [each for each in graph.initializer if each.name.startswith(f"{name}/")]:
        graph.initializer.remove(constant)
    for node in graph.node:
        node.input[:] = [name if value == rows else value for value in node.input]
    value = next(each for each in graph.input if each.name == name)
    shape: list[str | int] = ["batch", *row_shape(stated.form, stated.transform.encoding)]
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, element_type(stated.form.rows), shape))


def _without_transforms(
    manifest: ModelManifest, inputs: Mapping[str, _StatedInput]
) -> tuple[dict[str, ModelInputSpec], Notes]:
    """The manifest's inputs; those that repeat the transform in the graph or a part of it, or say nothing, as the graph
    leaves them.
    """
    specs: dict[str, ModelInputSpec] = {}
    notes: list[dict[str, str]] = []
    names = names_here(list(inputs), manifest)
    for name, stated in inputs.items():
        own = names[name]
        given = manifest.inputs.get(own)
        if given is not None and given.transform != InputTransform() and not _repeats(given, stated):
            specs[own] = given
            notes += [_applied_before(own)] if _numbers(given) != _numbers(InputTransform()) else []
            continue
        specs[own] = stated.left.model_copy(update={"shape": given.shape if given is not None else None})
        notes += [_already_done(own)] if given is not None and _numbers(given) != _numbers(InputTransform()) else []
    others = {name: spec for name, spec in manifest.inputs.items() if name not in specs}
    return {**specs, **others}, tuple(notes)


def _repeats(given: InputTransform, stated: _StatedInput) -> bool:
    """Whether each number is that of the graph, or none: manifests of datasets say a scale, and no statistics."""
    none = InputTransform()
    same_scale = given.scale in (stated.transform.scale, none.scale)
    if statistics_digest(given) == stated.statistics:
        return same_scale
    pairs = ((given.mean, stated.transform.mean, none.mean), (given.std, stated.transform.std, none.std))
    return same_scale and all(own in (graph, nothing) for own, graph, nothing in pairs)


def _numbers(transform: InputTransform) -> tuple[object, ...]:
    return transform.scale, transform.mean, transform.std


def _already_done(name: str) -> dict[str, str]:
    message = (
        f"the graph scales and centres the input `{name}` itself, as the manifest says again: it is done once. Leave "
        "`scale`, `mean` and `std` out of the manifest"
    )
    return {"code": "transform_in_graph", "message": message}


def _applied_before(name: str) -> dict[str, str]:
    message = (
        f"the graph scales and centres the input `{name}` itself, and the manifest's `scale`, `mean` and `std` are "
        "applied before: right for rows in another unit than those of the training. Leave them out otherwise"
    )
    return {"code": "transform_in_graph", "message": message}


def _in_own_units(manifest: ModelManifest, document: Mapping[str, object]) -> tuple[dict[str, OutputSpec], Notes]:
    """The manifest's outputs; numbers without the mean and deviation that the graph has undone."""
    outputs, notes = dict(manifest.outputs), []
    stated = document.get("outputs")
    for name, spec in manifest.outputs.items():
        task = stated.get(name.removesuffix(f".{spec.kind}")) if isinstance(stated, dict) else None
        network = task.get("spec_of_network") if isinstance(task, dict) else None
        if isinstance(spec, ValueOutput | VectorOutput) and network == spec.model_dump(mode="json"):
            outputs[name] = ValueOutput(kind="value") if isinstance(spec, ValueOutput) else VectorOutput(kind="vector")
            notes += [_undone(name)] if outputs[name] != spec else []
    return outputs, tuple(notes)


def _undone(name: str) -> dict[str, str]:
    message = (
        f"the graph puts out `{name}` in its own units, and the manifest's `mean` and `std` are those of the network "
        "in it: they were left out. Leave them out of the manifest"
    )
    return {"code": "units_in_graph", "message": message}
