"""A tokenizer as a file of the library tokenizers has it, without the padding and the truncation that it may say."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, __version__

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import MOST_IDS, TokenEncoding

FILE_NAME = "tokenizer.json"
MOST_BYTES = 64 << 20
_PADS = ("[PAD]", "<pad>", "<|endoftext|>", "</s>")
"""Names of the token that fills rows, as models call it."""
_REPLACING = ("[MASK]", "<mask>", "[UNK]", "<unk>")
"""Names of the token that stands for any other, the mask token first."""
VERSION = f"tokenizers {__version__}"


class TextTokenizer:
    """Texts -> ids. Raises UserError `unusable_tokenizer` where a file is no tokenizer.

    `padding_side`, `truncation_side`: what the file says, "left" or "right"; rows are filled and cut at their end.
    """

    def __init__(self, content: bytes) -> None:
        if len(content) > MOST_BYTES:
            raise unusable(f"it has {len(content)} bytes, {MOST_BYTES} at most")
        self._tokenizer = _parsed(content)
        self.padding_side = _side(self._tokenizer.padding)
        self.truncation_side = _side(self._tokenizer.truncation)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.content = self._tokenizer.to_str().encode()
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    @classmethod
    def of_file(cls, path: Path) -> "TextTokenizer":
        """From a stored file."""
        return cls(path.read_bytes())

    @property
    def vocabulary(self) -> int:
        """Above every id, those of added tokens too. Raises UserError."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        largest = max(ids, default=-1)
        if not 0 <= largest < MOST_IDS:
            raise unusable(f"its largest id is {largest}, expected one below {MOST_IDS}")
        return largest + 1

    @property
    def padding(self) -> int | None:
        """The id of the token that fills rows, by the names that models give it; None without such a token."""
        found = (self._tokenizer.token_to_id(name) for name in _PADS)
        return next((place for place in found if place is not None), None)

    @property
    def replacing(self) -> int | None:
        """The id of the mask token, else of the unknown token, by the names that models give them; None without one."""
        found = (self._tokenizer.token_to_id(name) for name in _REPLACING)
        return next((place for place in found if place is not None), None)

    @property
    def special(self) -> tuple[int, ...]:
        """The ids of special tokens, ascending."""
        return tuple(
            sorted(place for place, each in self._tokenizer.get_added_tokens_decoder().items() if each.special)
        )

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> list[NDArray[np.int32]]:
        """The ids of each row, `length` at most: of one text, or of a pair, with the special tokens. Of longer rows
        the end is cut, of pairs that of the longer text.
        """
        self._tokenizer.enable_truncation(length)
        rows = [each[0] if len(each) == 1 else each for each in texts]
        with _characters_named():
            found = self._tokenizer.encode_batch_fast(rows, add_special_tokens=True)
        return [np.array(each.ids, np.int32) for each in found]

    def encode_words(
        self, rows: Sequence[Sequence[str]], length: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """(ids, the place of the first id of each word, -1 where the row has none) of rows of words, with the special
        tokens, `length` ids at most: longer rows lose their end.
        """
        self._tokenizer.enable_truncation(length)
        with _characters_named():
            found = self._tokenizer.encode_batch([list(row) for row in rows], is_pretokenized=True)
        return [(np.array(e.ids, np.int32), _firsts(e.word_ids, len(row))) for e, row in zip(found, rows, strict=True)]

    def encoding(self, length: int, padding: int | None = None, separator: int | None = None) -> TokenEncoding:
        """What a model says of it. Raises UserError where it has no token that fills rows."""
        filled = self.padding if padding is None else padding
        if filled is None:
            raise unusable(f"it has no token that fills rows: add one of {', '.join(_PADS)}")
        return TokenEncoding(
            tokenizer=self.sha256,
            vocabulary=max(self.vocabulary, filled + 1),
            padding=filled,
            padding_token=self._tokenizer.id_to_token(filled) or _PADS[0],
            length=length,
            separator=separator,
        )


@contextmanager
def _characters_named() -> Iterator[None]:
    """The library's errors for texts that no UTF-8 can write, as UserError `wrong_type`."""
    try:
        yield
    except (TypeError, UnicodeEncodeError):
        raise UserError(
            "wrong_type", "a text has half of a character (a lone surrogate), which UTF-8 cannot write: leave it out"
        ) from None


def _side(said: Mapping[str, Any] | None) -> str:
    return str(said["direction"]) if said is not None else "right"


def _firsts(words: Sequence[int | None], count: int) -> NDArray[np.int32]:
    """The place of the first token of each of `count` words, by the word of each token."""
    firsts = np.full(count, -1, np.int32)
    for place, word in reversed(list(enumerate(words))):
        if word is not None:
            firsts[word] = place
    return firsts


def _parsed(content: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_str(content.decode())
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        reason = str(error).partition("\n")[0][:200]
        raise unusable(f"the library tokenizers does not read it ({reason})") from None


def unusable(detail: str) -> UserError:
    """A UserError with code `unusable_tokenizer`."""
    return UserError("unusable_tokenizer", f"`{FILE_NAME}`: {detail}: save the tokenizer again by `save_pretrained`")
