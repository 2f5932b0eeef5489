"""What a folder of a network for images says: the shape of its rows, and what its image processor does to them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.contracts.base import tuples
from app.contracts.problems import UserError, listed
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest
from workers.engine.jobs.inspection.huggingface.configurations import Reading, check_known, network_of
from workers.engine.jobs.inspection.huggingface.folder import Folder, unreadable
from workers.engine.jobs.inspection.huggingface.sentences import SentenceModules
from workers.engine.models.families.library.huggingface import OF_ROWS, own_keys

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


def read_images(
    folder: Folder,
    config: Mapping[str, Any],
    outputs: Mapping[str, int],
    manifest: ModelManifest,
    sentences: SentenceModules | None,
) -> Reading:
    """The network of images and its input. `sentences`: of an encoder, what makes one vector of an image.

    Raises UserError `unsupported_config`, `unreadable`, `shape_mismatch`.
    """
    processor, name = folder.document("preprocessor_config.json"), str(config["model_type"])
    own = own_keys(name)
    check_known(config, name, {*own, *OF_ROWS})
    given = {key: tuples(config[key]) for key in own if config.get(key) is not None and config[key] != own[key]}
    embedding = sentences.embedding if sentences is not None else None
    architecture = network_of(name, given, _image_shape(config, processor), outputs, embedding=embedding)
    inputs, notes = _inputs(manifest, processor)
    return Reading(architecture, inputs, notes)


def _image_shape(config: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[Any, ...]:
    """[C, H, W] as the configuration says, else the image processor, else 224 pixels a side."""
    size = config.get("image_size")
    if size is None:
        size = processor.get("crop_size") or processor.get("size") or 224
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    sides = size if isinstance(size, list | tuple) else [size, size]
    return (config.get("num_channels", 3), *sides)


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
        raise unreadable(f"preprocessor_config.json: {error.errors()[0]['msg']}: correct it") from None


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
