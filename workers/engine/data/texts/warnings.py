"""What is unusual about the texts of a dataset."""

from collections.abc import Collection, Iterator

from app.contracts.resources.inputs.encoded_names import is_encoded_name, own_name
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
        if len(rows) > 1 and bool((rows == rows[0]).all()):
            yield DataWarning(
                code="constant_input",
                message=f"all {len(rows)} texts of `{name}` are the same, expected different ones: check that the file "
                "and its column are the right ones",
                inputs=(name,),
            )
        if empty:
            yield DataWarning(
                code="empty_texts",
                message=f"{empty} of {len(rows)} texts of `{name}` are empty, expected none: leave the rows out unless "
                "an empty text means something",
                inputs=(name,),
            )


def cut_by_models(dataset: Dataset, own: Collection[str]) -> Iterator[str]:
    """What models lose that read by another tokenizer than the dataset's: _LEAST_SHARE or more of the texts reach the
    longest row that such a model reads. `own`: the inputs that the student reads by a model's tokenizer.
    """
    for name, tokens in dataset.tokens.items():
        rows = dataset.inputs[name]
        if (name not in own and not is_encoded_name(name)) or rows.shape[1] < tokens.length:
            continue
        cut = int((rows[:, -1] != tokens.padding).sum())
        if cut >= _LEAST_SHARE * len(rows):
            reader = "a teacher" if is_encoded_name(name) else "the student"
            yield (
                f"{cut} of {len(rows)} texts of `{own_name(name)}` ({cut / len(rows):.1%}) have {tokens.length} tokens "
                f"or more, and {reader} reads no further: use a model that reads longer rows, or shorten the texts"
            )
