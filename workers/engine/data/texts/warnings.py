"""What is unusual about the texts of a dataset."""

from collections.abc import Iterator

from app.contracts.resources.inputs.texts import TextInput, TokensInput
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.statistics import DataWarning
from workers.engine.data.dataset import Dataset

_LEAST_SHARE = 0.01
_SPECIAL = 2
"""Tokens of a row without text."""


def texts(dataset: Dataset, manifest: DatasetManifest) -> Iterator[DataWarning]:
    """`texts_cut` of an input of which _LEAST_SHARE or more of the rows reach the largest length, and `empty_texts`."""
    for name, spec in manifest.inputs.items():
        if not isinstance(spec, TextInput | TokensInput):
            continue
        rows, padding = dataset.inputs[name], dataset.tokens[name].padding
        counts = (rows != padding).sum(dim=1)
        cut, empty = (
            int((counts >= spec.length).sum()),
            int((counts <= _SPECIAL).sum()) if isinstance(spec, TextInput) else 0,
        )
        if cut >= _LEAST_SHARE * len(rows):
            yield DataWarning(
                code="texts_cut",
                message=f"{cut} of {len(rows)} texts of `{name}` ({cut / len(rows):.1%}) have {spec.length} tokens or "
                "more, and students read no further: give the input a larger `length`, or shorten the texts",
                inputs=(name,),
            )
        if empty:
            yield DataWarning(
                code="empty_texts",
                message=f"{empty} of {len(rows)} texts of `{name}` are empty, expected none: leave the rows out unless "
                "an empty text means something",
                inputs=(name,),
            )
