"""The columns of lists of a dataset, and its labels of tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.inputs.tagging import TokenClassTarget, labelled_input
from app.contracts.resources.inputs.texts import TextInput, TokensInput
from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.dataset import InputRows, TargetColumn
from workers.engine.data.formats.written import FileColumns
from workers.engine.data.texts.labels import token_labels
from workers.engine.data.texts.places import TokenPlaces

if TYPE_CHECKING:
    from workers.engine.data.texts.reading import TextReading


def ids_of(
    name: str, spec: TokensInput, file: FileColumns, reading: "TextReading | None"
) -> tuple[InputRows, TokenPlaces]:
    """The rows of an input of ids."""
    from workers.engine.data.texts.ids import read_ids  # tokenizers is imported where there are tokens

    return read_ids(name, spec, file.lists, reading)


def words_of(
    name: str, spec: TextInput, file: FileColumns, train: NDArray[np.int64], reading: "TextReading | None"
) -> tuple[InputRows, TokenPlaces]:
    """The rows of an input of texts whose words are labelled."""
    from workers.engine.data.texts.words import read_words  # tokenizers is imported where there are tokens

    return read_words(name, spec, file.lists, train, reading)


def label_lists(manifest: DatasetManifest) -> set[str]:
    """The columns of labels of tokens."""
    targets = {name: spec for name, spec in manifest.targets.items() if isinstance(spec, TokenClassTarget)}
    return {spec.column or name for name, spec in targets.items()}


def list_columns(manifest: DatasetManifest) -> set[str]:
    """The columns that have a list in each row: ids, labels of tokens, and the words of texts that are labelled."""
    words = {column for name in _labelled_texts(manifest) for column in manifest.inputs[name].columns or (name,)}
    return (
        words
        | label_lists(manifest)
        | {spec.column or name for name, spec in manifest.inputs.items() if isinstance(spec, TokensInput)}
    )


def _labelled_texts(manifest: DatasetManifest) -> set[str]:
    """The inputs of texts whose words are labelled."""
    found = {
        labelled_input(name, spec, manifest.inputs)
        for name, spec in manifest.targets.items()
        if isinstance(spec, TokenClassTarget)
    }
    return {name for name in found if isinstance(manifest.inputs[name], TextInput)}


def token_targets(
    manifest: DatasetManifest, file: FileColumns, places: Mapping[str, TokenPlaces]
) -> dict[str, TargetColumn]:
    """The targets that label tokens, which stand in the places of their input's."""
    targets = {name: spec for name, spec in manifest.targets.items() if isinstance(spec, TokenClassTarget)}
    if not targets:
        return {}
    return {
        name: token_labels(
            name, spec, file.lists[spec.column or name], places[labelled_input(name, spec, manifest.inputs)]
        )
        for name, spec in targets.items()
    }
