"""Small images, and networks of every kind on them."""

from typing import Any

import torch

from tests.engine.harness import TEACHER, EngineHarness, blobs
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
SIDE = 32
VIT: Json = {"family": "timm", "name": "test_vit"}
TIMM: Json = {"family": "timm", "name": "test_resnet"}
TORCHVISION: Json = {"family": "torchvision", "name": "shufflenet_v2_x0_5"}
RESNET: Json = {"family": "resnet", "depth": 8, "stem": 4}
CONVNET: Json = {"family": "convnet", "channels": [4, 6], "blocks": 2, "hidden": [6], "dropout": 0.2}
MLP: Json = {"family": "mlp", "hidden": [8, 6]}
TOKENS: Json = {"family": "transformer", "width": 8, "depth": 3, "heads": 2, "dropout": 0.2}
TRAINING: Json = {"steps": 4, "batch_size": 16, "learning_rate": 0.002, "weight_decay": 0.1}
TARGETS: Json = {"label": {"kind": "class", "classes": 3}, "size": {"kind": "value"}}


def with_tokens(harness: EngineHarness) -> EngineHarness:
    """Sequences of tokens, as a transformer of ours reads them."""
    arrays = blobs(90, features=12)
    rows = {**arrays, "x": arrays["x"].reshape(90, 4, 3)}
    harness.dataset(rows)
    return harness


def uploaded(harness: EngineHarness, name: str, model: str = TEACHER, seed: int = 0) -> dict[str, torch.Tensor]:
    """A network of timm with the weights that timm draws, as a teacher or to start from."""
    torch.manual_seed(seed)
    network = package("timm").create_model(name, num_classes=3)
    with torch.no_grad():
        network.train()(torch.rand(8, 3, SIDE, SIDE))
    architecture = {"family": "timm", "name": name, "input_shape": [3, SIDE, SIDE], "outputs": {"label": 3}}
    inputs = {"x": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    kinds = {"label": {"kind": "class"}}
    harness.uploaded(tensors, {"architecture": architecture, "outputs": kinds, "inputs": inputs}, model)
    return tensors


def train(model: Json, **training: Any) -> Json:
    return {"kind": "train", "target": "label", "model": model, "training": {**TRAINING, **training}}


def distill(student: Json, distillation: Json | None = None, *, control: bool = False, **training: Any) -> Json:
    return {
        "kind": "distill",
        "target": "label",
        "teachers": [{"model": TEACHER}],
        "student": student,
        "training": {**TRAINING, **training},
        "control": control,
        "distillation": {"allow_chance_teacher": True, **(distillation or {})},
    }
