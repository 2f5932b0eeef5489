"""Inputs of texts, and how they become tokens."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.base import Column, Contract, NameInFile, Sha256, digest_of, left_out
from app.contracts.specs.families.huggingface_configs import MOST_IDS as MOST_IDS
from app.contracts.specs.families.huggingface_configs import MOST_TOKENS as MOST_TOKENS


class TokenizerTraining(Contract):
    """A tokenizer of byte pairs (BPE, as GPT-2 has it) that is trained on the texts of the training split.

    Its special tokens are those of BERT: `[PAD]` (0), `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]`; a row is
    `[CLS] text [SEP]`, or `[CLS] first [SEP] second [SEP]`.
    """

    size: int = Field(
        default=8000,
        ge=300,
        le=65_536,
        description="Largest number of different tokens. Small texts have fewer: a token occurs at least twice.",
    )
    lowercase: bool = Field(default=True, description="Whether letters become lower-case first. Accents are kept.")


class TextInput(Contract):
    """Texts of any lengths, brought to tokens by the tokenizer of each model that reads them."""

    kind: Literal["text"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=2)] | None = Field(
        default=None,
        description="The column of the texts, or two for pairs, such as a question and an answer; the input's name "
        "when left out.",
    )
    tokenizer: TokenizerTraining = Field(
        default=TokenizerTraining(),
        description="The tokenizer of students that bring none, trained on the training split.",
    )
    length: int = Field(
        default=256,
        ge=4,
        le=MOST_TOKENS,
        description="Most tokens of a row for students, with the special ones: longer texts lose their end. Rows are "
        "not longer than the longest text needs.",
    )


class TokensInput(Contract):
    """Rows of ids of tokens, of any lengths: lists of whole numbers, which no tokenizer makes.

    In npz, rows of one width; ids of `padding` at the end of a row are no tokens, in every format.
    """

    kind: Literal["tokens"]
    column: Column | None = Field(default=None, description="Column of the lists; the input's name when left out.")
    vocabulary: int = Field(ge=2, le=MOST_IDS, description="Ids are whole numbers from 0 on, below this number.")
    padding: int = Field(default=0, ge=0, le=MOST_IDS, description="The id that fills rows up, which is no token.")
    length: int = Field(
        default=256,
        ge=1,
        le=MOST_TOKENS,
        description="Most tokens of a row: longer ones lose their end, and the labels of it. Rows are not longer than "
        "the longest one needs.",
    )

    @model_validator(mode="after")
    def _padding_is_an_id(self) -> Self:
        if self.padding >= self.vocabulary:
            raise ValueError(f"`padding` is {self.padding}, expected an id below `vocabulary`, {self.vocabulary}")
        return self

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The column, as other inputs list theirs."""
        return None if self.column is None else (self.column,)


class TokenEncoding(Contract):
    """How a model reads a text: the ids of its tokens, filled up with `padding` to the width of the other rows.

    Models with equal encodings, but for `length`, read the same rows.
    """

    tokenizer: Sha256 = Field(
        description="SHA-256 of the model's `tokenizer.json`; with `ids`, of the vocabulary and the padding."
    )
    ids: Literal[True] | None = Field(
        default=None,
        exclude_if=left_out,
        description="true where rows are ids as they stand in a file, and there is no tokenizer.",
    )
    words: Literal[True] | None = Field(
        default=None,
        exclude_if=left_out,
        description="true where a text is a list of words, each of which becomes tokens by itself.",
    )
    vocabulary: int = Field(ge=1, le=MOST_IDS, description="Ids are below this number.")
    padding: int = Field(ge=0, le=MOST_IDS, description="The id that fills rows up, which counts as no token.")
    padding_token: NameInFile = Field(description="What the tokenizer calls that token.")
    length: int = Field(ge=1, le=MOST_TOKENS, description="Most tokens of a row; longer texts lose their end.")
    separator: int | None = Field(
        default=None,
        ge=0,
        le=MOST_IDS,
        exclude_if=left_out,
        description="The id behind the first text of a pair, where the tokenizer gives the second one another type.",
    )


def encoding_of_ids(vocabulary: int, padding: int, length: int) -> TokenEncoding:
    """Of rows that are ids already: two models read the same rows where vocabulary and padding are the same."""
    return TokenEncoding(
        tokenizer=digest_of({"vocabulary": vocabulary, "padding": padding}),
        ids=True,
        vocabulary=vocabulary,
        padding=padding,
        padding_token=str(padding),
        length=length,
    )


def reads_same_tokens(one: TokenEncoding, other: TokenEncoding) -> bool:
    """Whether two models read a text as the same tokens, as far as both read it."""
    return (one.tokenizer, one.padding) == (other.tokenizer, other.padding)
