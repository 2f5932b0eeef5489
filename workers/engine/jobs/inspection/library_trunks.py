"""The measurement of the networks of libraries."""

from app.contracts.problems import Rejection, UserError
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import LibraryFamily
from app.contracts.specs.families.library import LibraryArchitecture, MeasuredTrunk
from workers.engine.models.families.library.measure import measure


def measured(network: LibraryArchitecture) -> MeasuredTrunk | Rejection:
    """Measure a trunk for rows of its `input_shape`. Raises UserError `library_missing` alone: another worker can."""
    assert network.input_shape is not None
    try:
        return measure(network, network.input_shape)
    except UserError as error:
        if error.code == "library_missing":
            raise
        return Rejection(code=error.code, message=error.message)


def measured_manifest(manifest: ModelManifest) -> ModelManifest:
    """The manifest of a model with the measurement of its network, where a library builds it.

    Raises UserError as `measure` does.
    """
    network = manifest.architecture
    if not isinstance(network, LibraryFamily):
        return manifest
    assert network.input_shape is not None
    if network.sides_misfit(network.input_shape) is not None or network.misfits(network.input_shape):
        return manifest  # the inspection of the network says what is wrong
    trunk = measure(network, network.input_shape)
    return manifest.model_copy(update={"architecture": network.model_copy(update={"measured": trunk})})
