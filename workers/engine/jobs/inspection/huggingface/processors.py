"""What an image processor of transformers makes of an image, as the form of a model's input."""

import re
from collections.abc import Mapping, Sequence
from math import floor, nextafter
from typing import Any, Final

from pydantic import ValidationError

from app.contracts.problems import UserError, listed
from app.contracts.resources.inputs.images import ImageForm
from workers.engine.jobs.inspection.huggingface.folder import unreadable
from workers.engine.models.families.library.packages import package

FILTERS: Final = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, as image processors have them in `resample`."""
_PLAIN: Final = (
    "Beit", "Bit", "CLIP", "DeiT", "EfficientNet", "MobileNetV1", "MobileNetV2", "MobileViT", "Pvt", "Segformer",
    "Siglip", "ViT",
)  # fmt: skip
"""Types that resize as `size` says, and then cut out `crop_size` where they do."""
_OWN_RESIZING: Final = ("ConvNext", "PoolFormer")
"""Types that scale by `crop_pct`, each in its own way."""
_NAME: Final = re.compile(r"(.+?)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?")
_WARPED: Final = 384
"""Pixels a side from which on a ConvNextImageProcessor stretches images instead of cutting them."""
_OTHER_STEPS: Final = (
    "do_flip_channel_order",
    "rescale_offset",
    "include_top",
    "do_reduce_labels",
    "do_pad",
    "do_convert_grayscale",
)
"""Steps of image processors that are not applied here."""
_READ: Final = (
    "size", "crop_size", "crop_pct", "resample", "default_to_square", "do_resize", "do_center_crop", "do_rescale",
    "rescale_factor", "do_normalize", "image_mean", "image_std",
)  # fmt: skip
_MOST_SIDE: Final = 1 << 14
Sides = tuple[int, int]
"""[height, width]."""


def completed(document: Mapping[str, Any], model_type: str, sides: Sequence[Any]) -> dict[str, Any]:
    """A `preprocessor_config.json` with what it leaves out, as its type in transformers has it; the size of images is
    then that of the model, `sides`. `kind` is the type.

    Raises UserError `unsupported_config` for what is not applied here.
    """
    kind, defaults = _type_of(document, model_type)
    given = {key: value for key, value in document.items() if value is not None}
    found = {key: getattr(defaults, key, None) for key in (*_READ, *_OTHER_STEPS)} | given
    if not given.keys() & {"size", "crop_size"}:
        square = "height" in (found["size"] or ())
        found["size"] = dict(zip(("height", "width"), sides, strict=True)) if square else sides[0]
        found["crop_size"] = list(sides)
    found["kind"] = kind
    _check(found)
    return found


def _type_of(document: Mapping[str, Any], model_type: str) -> tuple[str, Any]:
    """(type without its ending, the class that has its defaults)."""
    auto = package("transformers.models.auto.image_processing_auto")
    named = document.get("image_processor_type") or document.get("feature_extractor_type")
    own = auto.IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type) or {}
    match = _NAME.fullmatch(str(named or own.get("pil")))
    kind = match.group(1) if match is not None else ""
    if kind not in (*_PLAIN, *_OWN_RESIZING):
        raise UserError(
            "unsupported_config",
            f"preprocessor_config.json has `image_processor_type` {str(named)[:100]!r}, expected one of "
            f"{listed((*_PLAIN, *_OWN_RESIZING), most=20)}: give the transform, with `form`, in the manifest's "
            "`inputs`",
        )
    return kind, auto.get_image_processor_class_from_name(f"{kind}ImageProcessorPil")


def _check(processor: Mapping[str, Any]) -> None:
    """Refuse what a processor does beyond resizing, cutting, scaling and normalising: it would change every row."""
    extra = sorted(key for key in _OTHER_STEPS if processor.get(key))
    if not processor["do_resize"]:
        extra.append("do_resize")
    if processor["resample"] not in FILTERS:
        extra.append("resample")
    if processor["do_normalize"] and not (processor["image_mean"] and processor["image_std"]):
        extra.append("do_normalize")
    if extra:
        raise UserError(
            "unsupported_config",
            f"preprocessor_config.json has {listed(extra)} with a value that is not applied here, where images are "
            "resized (bilinear or bicubic), cut, scaled and normalised: give the transform in the manifest's `inputs`",
        )


def form_of(processor: Mapping[str, Any], channels: int) -> ImageForm:
    """The form that makes the pixels of a completed processor. Raises UserError `unsupported_config`, `unreadable`."""
    scaled, kept = _scaled(processor), _kept(processor)
    fields: dict[str, Any] = {"channels": channels, "filter": "bicubic" if processor["resample"] == 3 else None}
    if isinstance(scaled, int):
        if kept is None or kept[0] != kept[1] or kept[0] > scaled:
            raise _refused("crop_size", processor["crop_size"], "a square that is no larger than `size`")
        fields |= {"size": kept, "crop": share_of(kept[0], scaled)}
    elif kept is None or kept == scaled:
        fields |= {"size": scaled, "fit": "stretch"}
    else:
        share = share_of(kept[0], scaled[0])
        if kept[0] > scaled[0] or floor(kept[1] / share) != scaled[1]:
            raise _refused("crop_size", processor["crop_size"], "one of the proportions of `size`, and no larger")
        fields |= {"size": kept, "fit": "stretch", "crop": share}
    try:
        return ImageForm.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = listed(str(step) for step in first["loc"])
        raise unreadable(f"preprocessor_config.json: {place} of what it does: {first['msg']}: correct it") from None


def share_of(kept: int, scaled: int) -> float:
    """The largest `crop` by which `kept` pixels are cut out of a side of `scaled`: floor(kept / crop) = scaled."""
    share = kept / scaled
    while floor(kept / share) < scaled:
        share = nextafter(share, 0.0)
    return share


def _scaled(processor: Mapping[str, Any]) -> int | Sides:
    """The shorter side to which images are scaled, or both where they are stretched."""
    size, kind = _sides(processor, "size"), processor["kind"]
    if kind not in _OWN_RESIZING:
        return size
    if not isinstance(size, int) and size[0] != size[1]:
        raise _refused("size", processor["size"], "one number, or a square")
    edge = size if isinstance(size, int) else size[0]
    if kind == "ConvNext" and edge >= _WARPED:
        return edge, edge
    return floor(edge / _share(processor))


def _kept(processor: Mapping[str, Any]) -> Sides | None:
    """What is cut out; None where all of the image is kept."""
    if processor["kind"] == "ConvNext":
        size = _sides(processor, "size")
        edge = size if isinstance(size, int) else size[0]
        return edge, edge
    if not processor["do_center_crop"]:
        return None
    found = _sides(processor, "crop_size", square=True)
    assert not isinstance(found, int)
    return found


def _share(processor: Mapping[str, Any]) -> float:
    share = processor["crop_pct"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.5 <= share <= 1:
        raise _refused("crop_pct", share, "a number from 0.5 to 1")
    return float(share)


def _sides(processor: Mapping[str, Any], key: str, *, square: bool | None = None) -> int | Sides:
    """A size as a processor has it: the shorter side as one number, or [height, width]."""
    value = processor[key]
    square = processor["default_to_square"] is not False if square is None else square
    sides: list[Any]
    if isinstance(value, Mapping):
        sides = [value.get("shortest_edge")] if "shortest_edge" in value else [value.get("height"), value.get("width")]
        if set(value) - {"shortest_edge", "height", "width"}:
            sides = []
    elif isinstance(value, list | tuple):
        sides = list(value)
    else:
        sides = [value, value] if square else [value]
    if len(sides) not in (1, 2) or any(not _is_side(side) for side in sides):
        raise _refused(key, value, "`shortest_edge`, or `height` and `width`, in pixels")
    if len(sides) == 1 and key == "crop_size":
        sides *= 2
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SIDE


def _refused(key: str, found: Any, expected: str) -> UserError:
    return UserError(
        "unsupported_config",
        f"`{key}` of preprocessor_config.json is {str(found)[:100]}, expected {expected}: correct it, or give the "
        "transform, with `form`, in the manifest's `inputs`",
    )
