"""What the raw numbers of a table depend on beside its file and columns."""

from typing import Any

from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.manifests import DatasetManifest


def reading_facts(manifest: DatasetManifest) -> dict[str, Any]:
    """As JSON, empty for a dataset whose numbers stand in its file as they are.

    Categories and fills come from the training split, and so from the whole manifest. Pixels and features are
    those of a decoder.
    """
    if any(not isinstance(spec, ArrayInput) or spec.missing is not None for spec in manifest.inputs.values()):
        whole = {"manifest_of_data": manifest.model_dump(mode="json", exclude={"name", "metadata"})}
        return {**whole, **decoder_of(manifest)}
    return {"csv": manifest.csv.model_dump(mode="json")} if manifest.csv is not None else {}


def decoder_of(manifest: DatasetManifest) -> dict[str, Any]:
    """The versions on which pixels of images and features of sounds depend, as JSON; empty for other datasets."""
    found: dict[str, Any] = {}
    if any(isinstance(spec, ImageInput) for spec in manifest.inputs.values()):
        from workers.engine.data.formats.images.pixels import decoder_facts  # Pillow is imported where there are images

        found |= decoder_facts()
    if any(isinstance(spec, AudioInput) for spec in manifest.inputs.values()):
        from workers.engine.data.formats.sounds.rows import sound_facts  # soundfile is imported where there are sounds

        found |= {"sounds": sound_facts()}
    return found
