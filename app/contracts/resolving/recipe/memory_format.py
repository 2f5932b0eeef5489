"""The order in memory of images that a spec leaves out."""

from collections.abc import Sequence

from app.contracts.resolving.findings import Findings
from app.contracts.resources.facts import ModelFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.training import TrainingSpec


def with_memory_format(
    training: TrainingSpec, network: Architecture, teachers: Sequence[ModelFacts], findings: Findings
) -> TrainingSpec:
    """The settings with `channels_last` where the network or a teacher is a convnet or resnet of images."""
    networks = [network, *(each.architecture for each in teachers if each.architecture is not None)]
    if training.memory_format is not None or not any(each.maps_images for each in networks):
        return training
    findings.choose("/training/memory_format", "channels_last", "convolutions and pooling of images are faster in it")
    return training.model_copy(update={"memory_format": "channels_last"})
