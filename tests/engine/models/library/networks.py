"""Networks of libraries for tests."""

from typing import Any

import numpy as np
from torch import nn

from app.contracts.specs.families.library import LibraryArchitecture, Timm, Torchvision
from tests.engine.harness import Arrays, EngineHarness
from workers.engine.models.families.library.measure import measure
from workers.engine.models.families.library.packages import package

SMALL: dict[str, tuple[str, tuple[int, int, int]]] = {
    "test_efficientnet": ("timm", (3, 32, 32)),
    "test_resnet": ("timm", (1, 32, 32)),
    "test_convnext": ("timm", (3, 64, 32)),
    "test_vit": ("timm", (3, 32, 32)),
    "mobilenetv3_small_050": ("timm", (3, 32, 32)),
    "lcnet_035": ("timm", (3, 48, 48)),
    "ghostnet_050": ("timm", (3, 32, 32)),
    "shufflenet_v2_x0_5": ("torchvision", (3, 32, 32)),
    "mobilenet_v3_small": ("torchvision", (3, 32, 32)),
    "mnasnet0_5": ("torchvision", (3, 32, 32)),
}
"""Networks below 2.6 million parameters: library and the shape of images."""
OTHERS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "resnet18": ("torchvision", (3, 32, 32)),
    "densenet121": ("torchvision", (3, 32, 32)),
    "squeezenet1_1": ("torchvision", (3, 32, 32)),
    "vit_b_16": ("torchvision", (3, 32, 32)),
    "swin_t": ("torchvision", (3, 64, 64)),
    "regnet_y_400mf": ("torchvision", (3, 32, 32)),
    "googlenet": ("torchvision", (3, 64, 64)),
    "inception_v3": ("torchvision", (3, 96, 96)),
    "resnet10t": ("timm", (3, 32, 32)),
    "efficientvit_b0": ("timm", (3, 64, 64)),
    "edgenext_xx_small": ("timm", (3, 64, 64)),
    "mobilevit_xxs": ("timm", (3, 64, 64)),
    "convnextv2_atto": ("timm", (3, 32, 32)),
    "deit_tiny_distilled_patch16_224": ("timm", (3, 32, 32)),
    "swin_tiny_patch4_window7_224": ("timm", (3, 64, 64)),
    "dla34": ("timm", (3, 64, 64)),
    "levit_128s": ("timm", (3, 224, 224)),
    "mixer_s32_224": ("timm", (3, 64, 64)),
    "starnet_s050": ("timm", (3, 32, 32)),
    "tinynet_e": ("timm", (3, 32, 32)),
}


def architecture(name: str, outputs: dict[str, int] | None = None, **fields: Any) -> LibraryArchitecture:
    """A network with its measurement."""
    library, shape = {**SMALL, **OTHERS}[name]
    made = {"family": library, "name": name, "input_shape": shape, "outputs": outputs or {"y": 4}, **fields}
    network = Timm(**made) if library == "timm" else Torchvision(**made)
    return network.model_copy(update={"measured": measure(network, shape)})


def own(name: str, classes: int = 4) -> nn.Module:
    """The network as its library builds it, in evaluation mode."""
    library, (channels, *size) = {**SMALL, **OTHERS}[name]
    if library == "torchvision":
        arguments: dict[str, Any] = {"image_size": size[0]} if name.startswith("vit") else {}
        if name in ("googlenet", "inception_v3"):
            # By default it warns of another default to come, and has heads that only its own training uses.
            arguments |= {"init_weights": False, "aux_logits": False}
        made: nn.Module = package("torchvision").models.get_model(name, num_classes=classes, **arguments)
        return made.eval()
    timm = package("timm")
    sized = {"img_size": tuple(size)} if timm.models.get_pretrained_cfg(name).fixed_input_size else {}
    network: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels, **sized)
    return network.eval()


def with_images(harness: EngineHarness, rows: int = 90) -> EngineHarness:
    """Images of 32 pixels a side whose brightest channel is their class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, rows)
    pixels = random.integers(0, 120, (rows, 3, 32, 32)).astype(np.uint8)
    pixels[np.arange(rows), labels] += 100
    arrays: Arrays = {"x": pixels, "label": labels, "size": labels.astype(np.float32)}
    targets = {"label": {"kind": "class", "classes": 3}, "size": {"kind": "value"}}
    harness.dataset(arrays, targets=targets, inputs={"x": {"kind": "array", "scale": 1 / 255}})
    return harness
