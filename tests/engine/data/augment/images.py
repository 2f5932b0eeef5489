"""A small dataset of images in which no two numbers are equal, and augmentations of it from plain dictionaries."""

import json
from typing import Any

import torch
from torch import Tensor

from app.contracts.specs.views import Views
from workers.engine.data.augment import AugmentedInputs, MixingPartners, augment

ROWS, SHAPE = 300, (3, 12, 10)
SPLIT = torch.arange(0, ROWS, 2)
TRANSFORMS: list[dict[str, Any]] = [
    {"kind": "shift", "pixels": 3},
    {"kind": "flip"},
    {"kind": "flip", "direction": "vertical"},
    {"kind": "crop", "padding": 2},
    {"kind": "crop", "padding": 2, "fill": "reflect"},
    {"kind": "cutout", "size": 5},
    {"kind": "noise", "std": 0.5},
    {"kind": "color_jitter"},
    {"kind": "rand_augment"},
    {"kind": "spec_augment", "frequency_width": 5, "time_width": 4},
    {"kind": "mixup", "alpha": 0.8},
    {"kind": "cutmix"},
]
MANY: list[dict[str, Any]] = [
    {"kind": "crop", "padding": 2, "fill": "reflect"},
    {"kind": "flip"},
    {"kind": "noise", "std": 0.1},
    {"kind": "shift", "pixels": 1},
    {"kind": "cutout", "size": 4, "probability": 0.7},
    {"kind": "mixup", "alpha": 1.0, "probability": 0.8},
]


def views_of(*transforms: dict[str, Any], seed: int = 0) -> Views:
    return Views.model_validate_json(json.dumps({"seed": seed, "transforms": transforms}))


def pictures() -> Tensor:
    """float32 [300, 3, 12, 10]: a permutation of 1 to 108,000, so that 0 stands for `blank`."""
    numbers = torch.randperm(ROWS * 3 * 12 * 10, generator=torch.Generator().manual_seed(5)) + 1
    return numbers.to(torch.float32).reshape(ROWS, *SHAPE)


def look(data: Tensor, rows: Tensor, views: Views, epoch: int = 0) -> AugmentedInputs:
    """These rows of the dataset, augmented; partners come from its even rows."""
    return augment(data[rows], rows, epoch, views, MixingPartners(SPLIT, lambda asked: data[asked]))
