"""A folder that `save_pretrained` of transformers writes, as a zip: configuration, weights and image processor."""

import json
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.contracts.base import tuples
from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ClassOutput, ModelInputSpec, ModelManifest, OutputSpec
from app.contracts.specs.families.library import HuggingFace, ModelType
from workers.engine.models.families.library.huggingface import OF_ROWS, configuration, model_class, own_keys
from workers.engine.models.families.library.packages import package
from workers.engine.models.safetensors_header import read_header

MAX_BYTES = 8 << 30
MAX_MEMBERS = 200
MAX_RATIO = 1100
"""Largest compression of deflate, with a margin."""
MAX_JSON_BYTES = 4 << 20
_CODE = ("auto_map", "quantization_config", "backbone_config", "custom_pipelines")
"""Keys of a configuration by which transformers would run or load something else."""
_SAID_ELSEWHERE = (
    "torch_dtype", "dtype", "transformers_version", "architectures", "model_type", "_name_or_path", "num_labels",
)  # fmt: skip
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, as image processors have them in `resample`."""
_OTHER_STEPS = (
    "do_flip_channel_order",
    "rescale_offset",
    "include_top",
    "do_reduce_labels",
    "do_pad",
    "do_convert_grayscale",
)
"""Steps of image processors that are not applied here."""
_PICKLES = (".bin", ".pt", ".pth", ".msgpack", ".h5")
_SHOWN = 8


@dataclass(frozen=True)
class ConvertedFolder:
    """What was read of a folder: the manifest with the architecture and the transform of the images."""

    manifest: ModelManifest
    notes: tuple[dict[str, str], ...]


def convert_folder(path: Path, target: Path, manifest: ModelManifest) -> ConvertedFolder:
    """Write the weights of a folder to `target`, as safetensors under the names that the network's modules have.

    Raises UserError `unreadable`, `unsupported_config`, `missing_parameters`, `unexpected_parameters`, `wrong_shape`,
    `not_finite`, `wrong_output`, `library_missing`.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            return _convert(_Folder.of(archive, path.stat().st_size), Path(scratch), target, manifest)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise _unreadable("the zip archive is damaged, encrypted, or compressed in an unknown way") from None


@dataclass(frozen=True)
class _Folder:
    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    """The files beside `config.json`, by their bare names."""

    @classmethod
    def of(cls, archive: zipfile.ZipFile, size: int) -> "_Folder":
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        claimed = sum(entry.file_size for entry in entries)
        if len(entries) > MAX_MEMBERS or claimed > min(MAX_BYTES, size * MAX_RATIO):
            raise _unreadable(f"{len(entries)} files of {claimed} bytes, {MAX_MEMBERS} and {MAX_BYTES} at most")
        if any(entry.flag_bits & 1 for entry in entries):
            raise _unreadable("the zip archive is encrypted")
        configs = [entry for entry in entries if entry.filename.rpartition("/")[2] == "config.json"]
        if len(configs) != 1:
            raise _unreadable(f"the zip has {len(configs)} files `config.json`, expected one")
        place = configs[0].filename.rpartition("/")[0]
        inside = [entry for entry in entries if entry.filename.rpartition("/")[0] == place]
        members = {entry.filename.rpartition("/")[2]: entry for entry in inside}
        if len(members) != len(inside):
            raise _unreadable("the zip has two files of the same name")
        return cls(archive, members)

    def document(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no such file."""
        entry = self.members.get(name)
        if entry is None:
            return {}
        if entry.file_size > MAX_JSON_BYTES:
            raise _unreadable(f"`{name}` has {entry.file_size} bytes, {MAX_JSON_BYTES} at most")
        try:
            found = json.loads(self.archive.read(entry).decode())
        except (ValueError, RecursionError):
            raise _unreadable(f"`{name}` is no JSON") from None
        if not isinstance(found, dict):
            raise _unreadable(f"`{name}` is no JSON object")
        return found

    def weights(self, scratch: Path) -> dict[str, Tensor]:
        """All tensors of the safetensors files: of `model.safetensors`, or of those that an index names."""
        index = self.document("model.safetensors.index.json").get("weight_map")
        shards = sorted({str(each) for each in index.values()}) if isinstance(index, dict) else ["model.safetensors"]
        found: dict[str, Tensor] = {}
        for name in shards:
            tensors = self._shard(name, scratch / "shard.safetensors")
            doubled = sorted(set(found) & set(tensors))
            if doubled:
                raise _unreadable(f"{listed(doubled)} are in two files")
            found |= tensors
        return found

    def _shard(self, name: str, copy: Path) -> dict[str, Tensor]:
        entry = self.members.get(name)
        if entry is None:
            pickles = [each for each in self.members if each.endswith(_PICKLES)]
            instead = f" ({listed(pickles)} can carry code)" if pickles else ""
            raise _unreadable(f"expected `{name[:100]}` beside `config.json`{instead}: save as safetensors")
        with self.archive.open(entry) as source, copy.open("wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        read_header(copy)
        try:
            return {key: value.clone() for key, value in load_file(copy).items()}
        except SafetensorError as error:
            raise _unreadable(f"`{name}` is no sound safetensors file: {error}") from None


def _convert(folder: _Folder, scratch: Path, target: Path, manifest: ModelManifest) -> ConvertedFolder:
    config, processor = folder.document("config.json"), folder.document("preprocessor_config.json")
    (output,) = manifest.outputs
    _check_problem(config, manifest.outputs[output])
    names = _class_names(config)
    architecture = _architecture(config, processor, {output: len(names)})
    network = _loaded(architecture, folder.weights(scratch), len(names))
    state = {name: value.detach().float().clone() for name, value in network.state_dict().items()}
    endless = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if endless:
        raise UserError("not_finite", f"{listed(endless)} hold NaN or infinity: the model cannot be used")
    save_file({name: value.contiguous() for name, value in state.items()}, target)
    inputs, notes = _inputs(manifest, processor)
    outputs = {output: _with_names(manifest.outputs[output], names)}
    update = {"architecture": architecture, "inputs": inputs, "outputs": outputs, "format": "safetensors"}
    return ConvertedFolder(manifest.model_copy(update=update), notes)


def _architecture(config: Mapping[str, Any], processor: Mapping[str, Any], outputs: Mapping[str, int]) -> HuggingFace:
    name = config.get("model_type")
    if name not in get_args(ModelType):
        known = ", ".join(get_args(ModelType))
        raise UserError(
            "unsupported_config",
            f"`model_type` of config.json is {name!r}, expected one of {known}: export other models to ONNX",
        )
    refused = [key for key in _CODE if config.get(key)]
    if refused:
        raise UserError("unsupported_config", f"config.json has {listed(refused)}, which is not read: save without it")
    own = own_keys(str(name))
    common = set(package("transformers").PretrainedConfig().to_dict())
    unknown = sorted(set(config) - set(own) - common - {*OF_ROWS, *_SAID_ELSEWHERE})
    if unknown:
        raise UserError(
            "unsupported_config",
            f"config.json has {listed(unknown)}, which this version of transformers does not know for `{name}`: save "
            "the model again by this version",
        )
    given = {key: tuples(config[key]) for key in own if config.get(key) is not None and config[key] != own[key]}
    fields = {"family": "huggingface", "name": name, "config": given, "outputs": dict(outputs)}
    shape = _image_shape(config, processor)
    try:
        architecture = HuggingFace.model_validate({**fields, "input_shape": shape})
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(str(step) for step in first["loc"])
        raise UserError("unsupported_config", f"`{place}` of config.json: {first['msg']}: correct it") from None
    for problem in architecture.misfits(shape):
        raise UserError(problem.code, problem.detail)
    return architecture


def _image_shape(config: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[Any, ...]:
    """[C, H, W] as the configuration says, else the image processor, else 224 pixels a side."""
    size = config.get("image_size")
    if size is None:
        size = processor.get("crop_size") or processor.get("size") or 224
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    sides = size if isinstance(size, list | tuple) else [size, size]
    return (config.get("num_channels", 3), *sides)


def _check_problem(config: Mapping[str, Any], spec: OutputSpec) -> None:
    """The kind of a model that says what it was trained for."""
    kinds = {"single_label_classification": "class", "multi_label_classification": "multilabel"}
    found = config.get("problem_type")
    if found is not None and kinds.get(str(found)) != spec.kind:
        raise UserError(
            "wrong_output",
            f"config.json has the `problem_type` {found!r}, and the manifest's output is of kind {spec.kind}: declare "
            f"`{kinds.get(str(found), 'another model')}`",
        )


def _class_names(config: Mapping[str, Any]) -> list[str]:
    """The classes in their order; `LABEL_0` and so on where the configuration has their number alone."""
    found = config.get("id2label")
    if not isinstance(found, dict):
        count = config.get("num_labels", 2)
        found = {str(i): f"LABEL_{i}" for i in range(min(count, 65_537))} if isinstance(count, int) else {}
    names = [found.get(str(i)) for i in range(len(found))]
    if not 2 <= len(names) <= 65_536 or not all(isinstance(name, str) for name in names):
        raise UserError(
            "wrong_output", "`id2label` of config.json does not name two classes or more from 0 on: correct it"
        )
    return [str(name) for name in names]


def _with_names(spec: OutputSpec, names: list[str]) -> OutputSpec:
    """The manifest's output with the classes of the configuration, where it names none itself."""
    unnamed = [f"LABEL_{i}" for i in range(len(names))]
    if not isinstance(spec, ClassOutput) or spec.classes is not None or names == unnamed:
        return spec
    try:
        return ClassOutput.model_validate({**spec.model_dump(), "classes": tuple(names)})
    except ValidationError:  # names that no class may have here: numbers stay
        return spec


def _loaded(architecture: HuggingFace, weights: Mapping[str, Tensor], classes: int) -> torch.nn.Module:
    """Transformers' own network with the weights, whatever names earlier versions gave them."""
    config = configuration(architecture, architecture.input_shape or (), classes)
    try:
        network, info = model_class(config).from_pretrained(
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
        raise _unreadable(f"transformers does not load the weights: {str(error).partition(chr(10))[0][:200]}") from None
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


def _inputs(
    manifest: ModelManifest, processor: Mapping[str, Any]
) -> tuple[dict[str, ModelInputSpec], tuple[dict[str, str], ...]]:
    """What is done to raw rows, as the image processor does it; the manifest's own where it has some."""
    if manifest.inputs:
        return dict(manifest.inputs), ()
    if not processor:
        message = (
            "the folder has no preprocessor_config.json: rows are read as they are, unless `inputs` says otherwise"
        )
        return {}, ({"code": "no_image_processor", "message": message},)
    _check_processor(processor)
    fields: dict[str, Any] = {"resize": _FILTERS[processor.get("resample", 2)]}
    if processor.get("do_rescale", True):
        fields["scale"] = processor.get("rescale_factor", 1 / 255)
    if processor.get("do_normalize"):
        fields |= {"mean": tuples(processor["image_mean"]), "std": tuples(processor["image_std"])}
    try:
        return {"image": ModelInputSpec.model_validate(fields)}, _notes_of_crop(processor)
    except ValidationError as error:
        raise _unreadable(f"preprocessor_config.json: {error.errors()[0]['msg']}: correct it") from None


def _check_processor(processor: Mapping[str, Any]) -> None:
    """Refuse what an image processor does beyond resizing, scaling and normalising: it would change every row."""
    extra = sorted(key for key in _OTHER_STEPS if processor.get(key))
    if processor.get("do_resize") is False:
        extra.append("do_resize")
    if processor.get("resample", 2) not in _FILTERS:
        extra.append("resample")
    if processor.get("do_normalize") and not (processor.get("image_mean") and processor.get("image_std")):
        extra.append("do_normalize")
    if extra:
        raise UserError(
            "unsupported_config",
            f"preprocessor_config.json has {listed(extra)} with a value that is not applied here, where images are "
            "resized (bilinear or bicubic), scaled and normalised: give the transform in the manifest's `inputs`",
        )


def _notes_of_crop(processor: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    size = processor.get("size")
    cropped = (
        processor.get("do_center_crop")
        or processor.get("crop_pct")
        or (isinstance(size, dict) and "shortest_edge" in size)
    )
    if not cropped:
        return ()
    message = (
        "the folder's image processor keeps the proportions of images and crops them; here a dataset brings images to "
        "its `size` as `fit` says, and the model resizes those: answers differ from those of its own processor"
    )
    return ({"code": "image_processor_crops", "message": message},)


def _unreadable(detail: str) -> UserError:
    return UserError("unreadable", f"not a folder of transformers: {detail}")
