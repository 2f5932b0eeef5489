"""The columns of a dataset's files that its manifest names."""

from collections.abc import Mapping

from app.contracts.resources.columns import columns_of
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.manifests import ClassTarget, DatasetManifest, InputSpec
from app.contracts.resources.splits import columns_of_splits
from app.contracts.resources.tables import CategoryInput


def named_columns(manifest: DatasetManifest, inputs: Mapping[str, InputSpec] | None = None) -> set[str]:
    """The columns that the manifest names; of its inputs only those given."""
    inputs = manifest.inputs if inputs is None else inputs
    columns = {column for name, spec in inputs.items() for column in spec.columns or (name,)}
    columns |= {column for name, target in manifest.targets.items() for column in columns_of(name, target)}
    columns |= {spec.column or name for name, spec in manifest.weights.items()}
    return columns | columns_of_splits(manifest.splits)


def text_columns(manifest: DatasetManifest) -> set[str]:
    """The columns that may hold text: class names, categories, groups and splits."""
    named = {
        columns_of(name, target)[0]
        for name, target in manifest.targets.items()
        if isinstance(target, ClassTarget) and not isinstance(target.classes, int)
    }
    numbers = columns_of_inputs(manifest, ArrayInput)
    return named | columns_of_inputs(manifest, CategoryInput) | (columns_of_splits(manifest.splits) - numbers)


def columns_of_inputs(manifest: DatasetManifest, kind: type[InputSpec]) -> set[str]:
    """The columns of the inputs of a kind."""
    return {
        column for name, spec in manifest.inputs.items() if isinstance(spec, kind) for column in spec.columns or (name,)
    }
