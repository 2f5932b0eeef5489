"""The input transform that a graph exported by this service states about itself."""

import json

import onnx
from pydantic import ValidationError

from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest


def with_stated_inputs(
    model: onnx.ModelProto, manifest: ModelManifest
) -> tuple[ModelManifest, tuple[dict[str, str], ...]]:
    """(the manifest with the transform of the graph's only input, where the manifest says nothing of inputs; what was
    taken, as a warning).
    """
    stated = _stated(model)
    if manifest.inputs or stated is None or stated[1] == ModelInputSpec():
        return manifest, ()
    name, spec = stated
    message = (
        f"the transform of the input `{name}` was taken from the graph, which an export of this service wrote (scale, "
        "mean, std): say `inputs` in the manifest where it is another"
    )
    return manifest.model_copy(update={"inputs": {name: spec}}), ({"code": "inputs_taken", "message": message},)


def _stated(model: onnx.ModelProto) -> tuple[str, ModelInputSpec] | None:
    """(name, transform) of the only input in the graph's metadata; None where it states none or several."""
    written = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    if written is None or len(model.graph.input) != 1:
        return None
    try:
        inputs = json.loads(written)["inputs"]
        ((name, transform),) = inputs.items()
        return name, ModelInputSpec.model_validate_json(json.dumps(transform))
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
