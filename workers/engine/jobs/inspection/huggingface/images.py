"""What a folder of a network for images says: the shape of its rows, and what its image processor does to them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.contracts.base import tuples
from app.contracts.resources.inputs.forms import row_of
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.manifests import ModelInputSpec, ModelManifest
from workers.engine.jobs.inspection.huggingface.configurations import Reading, check_known, network_of
from workers.engine.jobs.inspection.huggingface.folder import Folder, unreadable
from workers.engine.jobs.inspection.huggingface.processors import FILTERS, completed, form_of
from workers.engine.jobs.inspection.huggingface.sentences import SentenceModules
from workers.engine.models.families.library.huggingface import OF_ROWS, own_keys


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
    processor, name = folder.processor("image_processor"), str(config["model_type"])
    own = own_keys(name)
    check_known(config, name, {*own, *OF_ROWS})
    given = {key: tuples(config[key]) for key in own if config.get(key) is not None and config[key] != own[key]}
    embedding = sentences.embedding if sentences is not None else None
    shape = _image_shape(config, processor)
    architecture = network_of(name, given, shape, outputs, embedding=embedding)
    inputs, notes = _inputs(manifest, processor, name, shape)
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
    manifest: ModelManifest, document: Mapping[str, Any], model_type: str, shape: tuple[Any, ...]
) -> tuple[dict[str, ModelInputSpec], tuple[dict[str, str], ...]]:
    """What is done to files and raw rows, as the image processor does it; the manifest's own where it has some.
    `shape`: [channels, height, width] of the model's rows.
    """
    if manifest.inputs:
        return dict(manifest.inputs), ()
    if not document:
        message = (
            "the folder has no preprocessor_config.json: rows are read as they are, unless `inputs` says otherwise"
        )
        return {}, ({"code": "no_image_processor", "message": message},)
    processor = completed(document, model_type, shape[1:])
    fields: dict[str, Any] = {"resize": FILTERS[processor["resample"]]}
    if processor["do_rescale"]:
        fields["scale"] = processor["rescale_factor"]
    if processor["do_normalize"]:
        fields |= {"mean": tuples(processor["image_mean"]), "std": tuples(processor["image_std"])}
    form, notes = _form(processor, shape)
    try:
        return {"image": ModelInputSpec.model_validate({**fields, "form": form})}, notes
    except ValidationError as error:
        raise unreadable(f"preprocessor_config.json: {error.errors()[0]['msg']}: correct it") from None


def _form(processor: Mapping[str, Any], shape: tuple[Any, ...]) -> tuple[ImageForm | None, tuple[dict[str, str], ...]]:
    """How files become rows, where these are of the model's size; else why not."""
    if shape[0] in (1, 3):
        form = form_of(processor, shape[0])
        if row_of(form) == shape:
            return form, ()
        made = f"images of {list(form.size)}"
    else:
        made = "images of 1 or 3 channels"
    message = (
        f"the folder's image processor makes {made}, and its configuration is of rows {list(shape)}: rows of a dataset "
        "are resized; give `form` in the manifest's `inputs` for files to be read as the model's own processor does"
    )
    return None, ({"code": "image_processor_differs", "message": message},)
