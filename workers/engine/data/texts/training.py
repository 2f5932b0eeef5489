"""Tokenizers that are trained on the texts of a dataset: byte pairs (Sennrich et al. 2016), as GPT-2 has them.

The library's trainer of pieces of words (WordPiece) is not used: of tokens that are equally frequent it chooses others
in each run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokenizerTraining
from workers.engine.data.texts.tokenizer import TextTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens in the order of their ids, from 0 on."""
_LEAST_COUNT = 2


def trained_tokenizer(spec: TokenizerTraining, texts: Iterable[tuple[str, ...]]) -> TextTokenizer:
    """A tokenizer of rows of one or two texts, the same for the same texts.

    Raises UserError `no_text` where no text has a character.
    """
    words = _Seen(text for row in texts for text in row)
    tokenizer = _byte_pairs(spec, iter(words))
    if not words.any:
        raise UserError(
            "no_text", "the texts of the training split have no characters: name another column, or leave it out"
        )
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return TextTokenizer(tokenizer.to_str().encode())


@dataclass
class _Seen:
    """Texts that pass, and whether any of them had a character beside spaces."""

    texts: Iterable[str]
    any: bool = False

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.any = self.any or not (text == "" or text.isspace())
            yield text


def _byte_pairs(spec: TokenizerTraining, texts: Iterator[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), *([normalizers.Lowercase()] if spec.lowercase else [])]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.size,
        min_frequency=_LEAST_COUNT,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
