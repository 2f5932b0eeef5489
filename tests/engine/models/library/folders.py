"""Folders of transformers with small random networks, as `save_pretrained` writes them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workers.engine.models.families.library.packages import package

SIDE = 32
_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "patch_size": 8,
}
_STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16]}
_WINDOWS: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "beit": _VIT,
    "bit": {"embedding_size": 64, "hidden_sizes": [128, 256], "depths": [1, 1]},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "convnextv2": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "deit": _VIT,
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
    "focalnet": {
        "embed_dim": 16,
        "depths": [1, 1],
        "hidden_sizes": [16, 32],
        "focal_levels": [2, 2],
        "focal_windows": [3, 3],
    },
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.35},
    "mobilevit": {
        "hidden_sizes": [16, 20, 24],
        "neck_hidden_sizes": [8, 8, 16, 16, 20, 24, 32],
        "num_attention_heads": 2,
    },
    "mobilevitv2": {"width_multiplier": 0.5},
    "poolformer": _STAGES,
    "pvt": {**_STAGES, "num_attention_heads": [1, 1, 2, 2]},
    "pvt_v2": {**_STAGES, "num_attention_heads": [1, 1, 2, 2]},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "segformer": {**_STAGES, "num_attention_heads": [1, 1, 2, 2]},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "vit": _VIT,
    "vit_msn": _VIT,
}
PROCESSOR = {
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.2],
    "resample": 3,
    "do_flip_channel_order": False,
    "include_top": False,
}
"""Its last two fields leave out steps that some types have by default, and that are not applied here."""


def network(name: str, side: int = SIDE, classes: tuple[str, ...] = ("cat", "dog", "owl")) -> nn.Module:
    """A small random network of a type, in evaluation mode."""
    transformers = package("transformers")
    labels = {"id2label": dict(enumerate(classes)), "label2id": {each: i for i, each in enumerate(classes)}}
    config = transformers.CONFIG_MAPPING[name].from_dict(
        {**CONFIGS[name], "image_size": side, "num_labels": len(classes), **labels}
    )
    found = transformers.AutoModelForImageClassification._model_mapping[type(config)]
    torch.manual_seed(0)
    made: nn.Module = (found[0] if isinstance(found, tuple) else found)(config)
    return made.eval()


def saved(made: Any, folder: Path, **options: Any) -> Path:
    """The folder that transformers writes, with an image processor."""
    made.save_pretrained(folder, **options)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def packed(folder: Path, path: Path, **changed: Any) -> Path:
    """A zip of a folder; `changed`: keys of its config.json that are others, None for those to leave out."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            content = file.read_bytes()
            if file.name == "config.json" and changed:
                config = {**json.loads(content), **changed}
                content = json.dumps({key: value for key, value in config.items() if value is not None}).encode()
            archive.writestr(f"model/{file.name}", content)
    return path
