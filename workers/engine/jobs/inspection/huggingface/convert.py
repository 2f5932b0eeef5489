"""A folder that `save_pretrained` of transformers writes, as a zip: configuration, weights, and image processor or
tokenizer.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ClassOutput, MapOutput, ModelManifest, OutputSpec, TokenClassOutput
from app.contracts.specs.families.huggingface_configs import BAND_TYPES, SAMPLE_TYPES, TEXT_TYPES
from app.contracts.specs.families.library import HuggingFace
from workers.engine.jobs.inspection.huggingface.configurations import Reading, check_problem, check_type, class_names
from workers.engine.jobs.inspection.huggingface.folder import Folder, reading, unreadable
from workers.engine.jobs.inspection.huggingface.images import read_images
from workers.engine.jobs.inspection.huggingface.sentences import SentenceModules, encoder_of
from workers.engine.jobs.inspection.huggingface.sounds import read_sounds
from workers.engine.jobs.inspection.huggingface.texts import read_texts
from workers.engine.jobs.inspection.library_trunks import measured
from workers.engine.models.families.library.huggingface import configuration, model_class

_BIAS = "score.bias"
"""The decoders' classifier has no bias, and heads here have one."""
_HEAD_WEIGHT, _HEAD_BIAS = "layers.0.weight", "layers.0.bias"
_SHOWN = 8
_OF_POOLER = ("pooler.dense.weight", "pooler.dense.bias", "pooler.weight", "pooler.bias")
"""Of a layer that encoders have for classifiers, and that no embedding reads."""
_OF_MASKS = ".masked_spec_embed"
"""What stands for masked places of a sound in training alone."""


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
    with reading():
        archive = zipfile.ZipFile(path)
    with archive, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        return _convert(Folder.of(archive, path.stat().st_size), Path(scratch), target, manifest)


def _convert(folder: Folder, scratch: Path, target: Path, manifest: ModelManifest) -> ConvertedFolder:
    config = folder.document("config.json")
    (output,) = manifest.outputs
    if isinstance(manifest.outputs[output], MapOutput):
        raise UserError(
            "wrong_output",
            f"`{output}` is of kind map, which is not read of folders of transformers: export the network to ONNX, "
            "with its scores brought to the size of the map, [rows, classes, height, width], and upload that",
        )
    sentences = encoder_of(folder, config, manifest, scratch)
    if sentences is None:
        check_problem(config, manifest.outputs[output])
    names = class_names(config) if sentences is None else []
    check_type(config)
    found = _reader(config["model_type"])(folder, config, {output: max(2, len(names))}, manifest, sentences)
    weights: Mapping[str, Tensor] = folder.weights(scratch)
    if sentences is not None:
        weights = _without_identity(weights)
    network = _loaded(found.architecture, weights, max(2, len(names)))
    state = {name: value.detach().float().clone() for name, value in network.state_dict().items()}
    if sentences is not None:
        head = _head(found.architecture, sentences)
        state |= head
        size = len(head[_HEAD_BIAS])
        found = replace(found, architecture=found.architecture.model_copy(update={"outputs": {output: size}}))
    elif found.architecture.reads == "tokens" and _BIAS.replace("bias", "weight") in state:
        state.setdefault(_BIAS, torch.zeros(len(names)))
    endless = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if endless:
        raise UserError("not_finite", f"{listed(endless)} hold NaN or infinity: the model cannot be used")
    save_file({name: value.contiguous() for name, value in state.items()}, target)
    outputs = {output: _with_names(manifest.outputs[output], names)}
    update = {"architecture": found.architecture, "inputs": found.inputs, "outputs": outputs, "format": "safetensors"}
    update["embedding"] = None  # the architecture says it
    return ConvertedFolder(manifest.model_copy(update=update), found.notes, found.tokenizer)


def _reader(name: str) -> Callable[..., Reading]:
    """What reads the folder of a type."""
    if name in TEXT_TYPES:
        return read_texts
    return read_sounds if name in SAMPLE_TYPES | BAND_TYPES else read_images


def _head(architecture: HuggingFace, sentences: SentenceModules) -> dict[str, Tensor]:
    """The head of an encoder: its module Dense, else the identity. Raises UserError `wrong_shape`, and
    `unsupported_config` where its tokens have another width than its modules say.
    """
    width = measured(architecture).features
    sentences.check_width(width)
    if sentences.dense is None:
        return {_HEAD_WEIGHT: torch.eye(width), _HEAD_BIAS: torch.zeros(width)}
    weight, bias = sentences.dense
    size = len(weight)
    if weight.shape[1] != width or size == width or (bias is not None and bias.shape != (size,)):
        raise UserError(
            "wrong_shape",
            f"the module Dense has a weight of {list(weight.shape)}, and tokens have {width} numbers: expected "
            f"[size, {width}], with another size than {width}: save the model again, or export it to ONNX",
        )
    return {_HEAD_WEIGHT: weight.float(), _HEAD_BIAS: torch.zeros(size) if bias is None else bias.float()}


def _without_identity(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of an encoder without the head that one of ours has in its file, where it changes nothing."""
    weight, bias = weights.get(_HEAD_WEIGHT), weights.get(_HEAD_BIAS)
    if weight is None or bias is None or weight.dim() != 2 or weight.shape[0] != weight.shape[1]:
        return weights
    if not torch.equal(weight, torch.eye(len(weight), dtype=weight.dtype)) or bool(bias.any()):
        return weights
    return {name: value for name, value in weights.items() if name not in (_HEAD_WEIGHT, _HEAD_BIAS)}


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
        model, options = model_class(config, architecture)
        network, info = model.from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation="eager",
            **options,
        )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise unreadable(f"transformers does not load the weights: {str(error).partition(chr(10))[0][:200]}") from None
    differing = [str(each[0] if isinstance(each, tuple) else each) for each in info["mismatched_keys"]]
    for code, what, names in (
        ("missing_parameters", "misses", info["missing_keys"]),
        ("unexpected_parameters", "has beside it", _unexpected(info["unexpected_keys"], bool(options))),
        ("wrong_shape", "has in other shapes", differing),
    ):
        if names:
            shown = listed(sorted(names), most=_SHOWN)
            raise UserError(code, f"of a {type(network).__name__} the file {what} {shown}: save the model again")
    module: torch.nn.Module = network.eval()
    return module


def _unexpected(names: Iterable[str], without_pooler: bool) -> list[str]:
    """Names that a network does not have, without those of the layer that an encoder leaves out and of training."""
    unread = (_OF_MASKS, *(_OF_POOLER if without_pooler else ()))
    return [name for name in names if not f".{name}".endswith(unread)]
