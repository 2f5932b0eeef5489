"""Inputs of a manifest as what the engine has of them once they are read."""

from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.texts import TextInput, TokensInput
from app.contracts.resources.manifests import ArrayInput, InputSpec
from app.contracts.resources.tables import CategoryInput


def spec_of_rows(spec: InputSpec) -> ArrayInput | CategoryInput | TextInput | TokensInput:
    """Images are pixels once they are read; others are what they are."""
    return pixels_of(spec) if isinstance(spec, ImageInput) else spec


def pixels_of(spec: ImageInput) -> ArrayInput:
    """The input of decoded images, numbers [N, height, width, channels]."""
    return ArrayInput(
        kind="array", columns=spec.columns, layout="channels_last", standardize=spec.standardize, shape=spec.pixels
    )
