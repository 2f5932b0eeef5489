"""The inputs of texts of a dataset, by the tokenizer of each model that reads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.inputs.encoded_names import encoded_name
from app.contracts.resources.inputs.texts import TextInput, TokenEncoding
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.dataset import InputRows
from workers.engine.data.formats.text_column import TextColumn, blocks_of
from workers.engine.data.texts.rows import token_rows
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.data.texts.training import SPECIAL, trained_tokenizer


@dataclass(frozen=True)
class TextReading:
    """The tokenizers of a job. `files`: their paths by SHA-256; `dataset`: those of the dataset, by input; `student`:
    that of the student, where it does not read by the dataset's; `teachers`: those of its teachers. `whole_width`: rows
    are as wide as the longest may be, so that several datasets can be joined.
    """

    files: Mapping[str, str]
    dataset: Mapping[str, TokenEncoding]
    student: TokenEncoding | None = None
    teachers: tuple[TokenEncoding, ...] = ()
    whole_width: bool = False

    def tokenizer(self, encoding: TokenEncoding) -> TextTokenizer:
        """From its file."""
        return TextTokenizer.of_file(Path(self.files[encoding.tokenizer]))


def read_texts(
    name: str,
    spec: TextInput,
    texts: Mapping[str, TextColumn],
    train: NDArray[np.int64],
    storage: RowStorage | None,
    reading: TextReading | None,
    written: Mapping[str, Any],
) -> InputRows:
    """The ids of an input's texts. `train`: row numbers of the training split, on whose texts a tokenizer is trained
    where `reading` has none. `written`: how the file is read. Raises UserError `no_text`, `unusable_tokenizer`.
    """
    columns = [(column, texts[column]) for column in spec.columns or (name,)]
    if reading is None or name not in reading.dataset:
        tokenizer = trained_tokenizer(spec.tokenizer, _training_texts([column for _, column in columns], train))
        rows = token_rows(columns, tokenizer, tokenizer.encoding(spec.length), storage, written)
        encoding = tokenizer.encoding(rows.shape[1], separator=SPECIAL.index("[SEP]"))
        return InputRows(rows, tokens=encoding, trained=tokenizer.content)

    def by(encoding: TokenEncoding) -> InputRows:
        width = encoding.length if reading.whole_width else None
        tokenizer = reading.tokenizer(encoding)
        return InputRows(token_rows(columns, tokenizer, encoding, storage, written, width), tokens=encoding)

    own = reading.student or reading.dataset[name]
    others = {encoded_name(name, each): each for each in reading.teachers if each != own and not each.ids}
    return replace(by(own), others={key: by(each) for key, each in others.items()})


def _training_texts(columns: Sequence[TextColumn], train: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
    """The texts of the training rows, in the order of the file."""
    chosen = np.zeros(len(columns[0]), dtype=bool)
    chosen[train] = True
    rows = iter(chosen.tolist())
    return (texts for block in blocks_of(columns) for texts in block if next(rows))
