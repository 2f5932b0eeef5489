"""A folder that `save_pretrained` of transformers writes, as a zip: configuration, weights, and image processor or
tokenizer.
"""

import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ClassOutput, MapOutput, ModelManifest, OutputSpec, TokenClassOutput
from app.contracts.specs.families.huggingface_configs import TEXT_TYPES
from app.contracts.specs.families.library import HuggingFace
from workers.engine.jobs.inspection.huggingface.configurations import check_problem, check_type, class_names
from workers.engine.jobs.inspection.huggingface.folder import Folder, unreadable
from workers.engine.jobs.inspection.huggingface.images import read_images
from workers.engine.jobs.inspection.huggingface.texts import read_texts
from workers.engine.models.families.library.huggingface import configuration, model_class

_BIAS = "score.bias"
"""The decoders' classifier has no bias, and heads here have one."""
_SHOWN = 8


@dataclass(frozen=True)
class ConvertedFolder:
    """What was read of a folder: the manifest with the architecture and the transform of the rows."""

    manifest: ModelManifest
    notes: tuple[dict[str, str], ...]
    tokenizer: bytes | None
    """The normalised `tokenizer.json` of a network of texts, whose digest its input has."""


def convert_folder(path: Path, target: Path, manifest: ModelManifest) -> ConvertedFolder:
    """Write the weights of a folder to `target`, as safetensors under the names that the network's modules have.

    Raises UserError `unreadable`, `unsupported_config`, `missing_parameters`, `unexpected_parameters`, `wrong_shape`,
    `not_finite`, `wrong_output`, `unusable_tokenizer`, `library_missing`.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            return _convert(Folder.of(archive, path.stat().st_size), Path(scratch), target, manifest)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise unreadable("the zip archive is damaged, encrypted, or compressed in an unknown way") from None


def _convert(folder: Folder, scratch: Path, target: Path, manifest: ModelManifest) -> ConvertedFolder:
    config = folder.document("config.json")
    (output,) = manifest.outputs
    if isinstance(manifest.outputs[output], MapOutput):
        raise UserError(
            "wrong_output",
            f"`{output}` is of kind map, which is not read of folders of transformers: export the network to ONNX, "
            "with its scores brought to the size of the map, [rows, classes, height, width], and upload that",
        )
    check_problem(config, manifest.outputs[output])
    names = class_names(config)
    check_type(config)
    read = read_texts if config["model_type"] in TEXT_TYPES else read_images
    found = read(folder, config, {output: len(names)}, manifest)
    network = _loaded(found.architecture, folder.weights(scratch), len(names))
    state = {name: value.detach().float().clone() for name, value in network.state_dict().items()}
    if found.architecture.reads == "tokens" and _BIAS.replace("bias", "weight") in state:
        state.setdefault(_BIAS, torch.zeros(len(names)))
    endless = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if endless:
        raise UserError("not_finite", f"{listed(endless)} hold NaN or infinity: the model cannot be used")
    save_file({name: value.contiguous() for name, value in state.items()}, target)
    outputs = {output: _with_names(manifest.outputs[output], names)}
    update = {"architecture": found.architecture, "inputs": found.inputs, "outputs": outputs, "format": "safetensors"}
    return ConvertedFolder(manifest.model_copy(update=update), found.notes, found.tokenizer)


def _with_names(spec: OutputSpec, names: list[str]) -> OutputSpec:
    """The manifest's output with the classes of the configuration, where it names none itself."""
    unnamed = [f"LABEL_{i}" for i in range(len(names))]
    if not isinstance(spec, ClassOutput | TokenClassOutput) or spec.classes is not None or names == unnamed:
        return spec
    try:
        return type(spec).model_validate({**spec.model_dump(), "classes": tuple(names)})
    except ValidationError:  # names that no class may have here: numbers stay
        return spec


def _loaded(architecture: HuggingFace, weights: Mapping[str, Tensor], classes: int) -> torch.nn.Module:
    """Transformers' own network with the weights, whatever names earlier versions gave them."""
    config = configuration(architecture, architecture.input_shape or (), classes)
    try:
        network, info = model_class(config, tagging=architecture.answers == "tokens").from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation="eager",
        )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise unreadable(f"transformers does not load the weights: {str(error).partition(chr(10))[0][:200]}") from None
    differing = [str(each[0] if isinstance(each, tuple) else each) for each in info["mismatched_keys"]]
    for code, what, names in (
        ("missing_parameters", "misses", info["missing_keys"]),
        ("unexpected_parameters", "has beside it", info["unexpected_keys"]),
        ("wrong_shape", "has in other shapes", differing),
    ):
        if names:
            shown = listed(sorted(names), most=_SHOWN)
            raise UserError(code, f"of a {type(network).__name__} the file {what} {shown}: save the model again")
    module: torch.nn.Module = network.eval()
    return module
