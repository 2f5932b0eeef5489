"""The measurement of the networks of libraries."""

from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import LibraryFamily
from app.contracts.specs.families.library import LibraryArchitecture, MeasuredTrunk
from workers.engine.models.families.library.measure import measure


def measured(network: LibraryArchitecture) -> MeasuredTrunk:
    """Measure a trunk for rows of its `input_shape`. Raises UserError as `measure` does."""
    assert network.input_shape is not None
    return measure(network, network.input_shape)


def measured_manifest(manifest: ModelManifest) -> ModelManifest:
    """The manifest of a model with the measurement of its network, where a library builds it. Raises UserError."""
    network = manifest.architecture
    if not isinstance(network, LibraryFamily):
        return manifest
    assert network.input_shape is not None
    if network.sides_misfit(network.input_shape) is not None or network.misfits(network.input_shape):
        return manifest  # the inspection of the network says what is wrong
    return manifest.model_copy(update={"architecture": network.model_copy(update={"measured": measured(network)})})
