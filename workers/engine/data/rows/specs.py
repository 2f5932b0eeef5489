"""Inputs of a manifest as what the engine has of them once they are read."""

from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.texts import TextInput, TokensInput
from app.contracts.resources.manifests import InputSpec
from app.contracts.resources.tables import CategoryInput


def spec_of_rows(spec: InputSpec) -> ArrayInput | CategoryInput | TextInput | TokensInput:
    """Images are pixels and sounds features once they are read; others are what they are."""
    if isinstance(spec, AudioInput):
        return features_of(spec)
    return pixels_of(spec) if isinstance(spec, ImageInput) else spec


def pixels_of(spec: ImageInput) -> ArrayInput:
    """The input of decoded images, numbers [N, height, width, channels]."""
    return ArrayInput(
        kind="array", columns=spec.columns, layout="channels_last", standardize=spec.standardize, shape=spec.pixels
    )


def features_of(spec: AudioInput) -> ArrayInput:
    """The input of sounds as features or samples, numbers [N, *spec.row]."""
    return ArrayInput(
        kind="array", columns=spec.columns, layout="channels_first", standardize=spec.standardize, shape=spec.row
    )
