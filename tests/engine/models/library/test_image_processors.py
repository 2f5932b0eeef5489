"""The form of a folder's image processor makes the pixels that the processor itself makes, by Pillow."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.contracts.resources.inputs.images import ImageForm
from tests.engine.data.formats.images.test_evaluation_transforms import SIZES, photo
from workers.engine.data.formats.images.decode import pixels
from workers.engine.jobs.inspection.huggingface.processors import completed, form_of, share_of
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
SQUARE: Json = {"height": 48, "width": 48}
PROCESSORS: dict[str, tuple[str, Json]] = {
    "ViT": ("vit", {"size": SQUARE}),
    "ViT of an early version": ("vit", {"size": 48, "resample": 3, "feature_extractor_type": "ViTFeatureExtractor"}),
    "DeiT": ("deit", {"size": {"height": 54, "width": 54}, "crop_size": SQUARE}),
    "Beit": ("beit", {"size": {"height": 40, "width": 56}}),
    "Bit": ("dinov2", {"size": {"shortest_edge": 55}, "crop_size": SQUARE}),
    "CLIP": ("vit", {"size": {"shortest_edge": 48}, "crop_size": SQUARE}),
    "MobileNetV2": ("mobilenet_v2", {"size": {"shortest_edge": 61}, "crop_size": SQUARE}),
    "ConvNext": ("convnext", {"size": {"shortest_edge": 48}, "crop_pct": 0.9}),
    "ConvNext of an early version": ("resnet", {"size": 48, "crop_pct": 0.95, "resample": 2}),
    "ConvNext of 384 pixels": ("regnet", {"size": {"shortest_edge": 384}}),
    "PoolFormer": ("poolformer", {"size": {"shortest_edge": 50}, "crop_size": SQUARE, "crop_pct": 0.95}),
    "Pvt": ("pvt", {"size": SQUARE}),
    "Segformer": ("segformer", {"size": SQUARE}),
    "Siglip": ("vit", {"size": SQUARE}),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_its_form_makes_the_pixels_of_the_processor(name: str) -> None:
    kind, (model, settings) = name.partition(" ")[0], PROCESSORS[name]
    auto = package("transformers.models.auto.image_processing_auto")
    processor = auto.get_image_processor_class_from_name(f"{kind}ImageProcessorPil")(**settings)
    whole = {**json.loads(processor.to_json_string()), "image_processor_type": f"{kind}ImageProcessor"}
    named = {"image_processor_type": f"{kind}ImageProcessorFast"} if "version" not in name else {}
    forms = [form_of(completed(each, model, (48, 48)), 3) for each in (whole, {**settings, **named})]
    assert forms[0] == forms[1], "what is left out is as the type has it"
    for size in SIZES:
        file = photo(*size)
        with Image.open(io.BytesIO(file)) as image:
            made = processor(image, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"]
        theirs = np.asarray(made)[0].transpose(1, 2, 0).astype(np.uint8)
        np.testing.assert_array_equal(pixels("a.jpg", file, forms[0]), theirs)


def test_a_share_gives_back_the_side_that_it_was_made_of() -> None:
    for kept in range(8, 400, 7):
        for scaled in range(kept, 2 * kept, 5):
            form = ImageForm(size=(kept, kept), crop=share_of(kept, scaled))
            assert form.scaled == (scaled, scaled)
