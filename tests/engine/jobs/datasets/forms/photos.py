"""Photos of many proportions, and a teacher from a folder of transformers with an image processor of its own."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.data.formats.images.archives import encoded, zipped
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.models.library.folders import network, packed, saved
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.forms import check_form
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
SIDE, CLASSES = 48, ("cat", "dog", "owl")
SPLITS = ("train", "train", "train", "validation", "test")
PROCESSOR: Json = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_pct": 0.9,
    "resample": 3,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.2],
}

DISTILL: Json = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": {"family": "convnet", "channels": [4]},
    "training": {"steps": 3, "batch_size": 16},
    "distillation": {"allow_chance_teacher": True},
    "control": False,
}


def photos(count: int = 60) -> dict[str, bytes]:
    """JPEGs of 40 to 119 pixels a side, below a folder for each split and class; the class is the colour of a shape."""
    draw, found = np.random.default_rng(0), {}
    for i in range(count):
        height, width = (int(side) for side in draw.integers(40, 120, 2))
        y, x = np.mgrid[:height, :width]
        pixels = draw.integers(0, 90, (height, width, 3))
        pixels[(np.abs(y - height / 2) < height / 4) & (np.abs(x - width / 2) < width / 3), i % 3] += 150
        name = f"{SPLITS[i % 5]}/{CLASSES[i % 3]}/{i:03}.jpg"
        found[name] = encoded(Image.fromarray(pixels.astype(np.uint8)), "JPEG", quality=92)
    return dict(sorted(found.items()))


def with_photos(harness: EngineHarness, files: dict[str, bytes], **image: Any) -> None:
    """A dataset of them, whose rows have 32 pixels a side."""
    path = zipped(harness.folder / "photos.zip", files)
    inputs = {"photo": {"kind": "image", "size": [32, 32], **image}}
    targets = {"label": {"kind": "class", "classes": list(CLASSES)}}
    harness.file(path, format="images", inputs=inputs, targets=targets, splits={"column": "split"})


def folder_of(folder: Path, processor: Json = PROCESSOR) -> Path:
    """A small random ViT as transformers saves it, with an image processor."""
    saved(network("vit", SIDE, CLASSES), folder / "vit")
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder / "vit"


def as_teacher(harness: EngineHarness, folder: Path, model: str = TEACHER, **inputs: Any) -> ModelInput:
    """The folder as a teacher of the harness, as an inspection reads it; `inputs`: those of its manifest."""
    path = harness.folder / f"{model}.safetensors"
    document = {"name": "vit", "format": "huggingface", "outputs": {"label": {"kind": "class"}}, "inputs": inputs}
    manifest = ModelManifest.model_validate_json(json.dumps(document))
    found = convert_folder(packed(folder, harness.folder / f"{model}.zip"), path, manifest)
    facts = inspect_family_model(path, measured_manifest(found.manifest))
    check_form(facts)
    teacher = ModelInput(id=model, manifest=found.manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[model] = teacher
    return teacher


def outside(folder: Path, files: dict[str, bytes]) -> torch.Tensor:
    """Logits [n, classes] of files, by transformers alone: the folder's image processor, by Pillow, and model."""
    module = package("transformers.models.convnext.image_processing_pil_convnext")
    processor = module.ConvNextImageProcessorPil.from_pretrained(folder)
    model = package("transformers").AutoModelForImageClassification.from_pretrained(folder).eval()
    images = [Image.open(io.BytesIO(content)) for content in files.values()]
    with torch.no_grad():
        logits: torch.Tensor = model(**processor(images, return_tensors="pt")).logits
    return logits


def taught(harness: EngineHarness, folder: Path) -> EngineHarness:
    """The photos with the folder as their teacher."""
    with_photos(harness, photos())
    as_teacher(harness, folder)
    return harness
