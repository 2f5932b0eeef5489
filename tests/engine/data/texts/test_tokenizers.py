"""Tokenizers: trained ones are the same in every process, files of any origin are checked."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokenizerTraining
from tests.engine.jobs.texts.sentences import sentences
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.data.texts.training import SPECIAL, trained_tokenizer

TEXTS = [(row["text"],) for row in sentences(150)]
_PROGRAM = """
from tests.engine.data.texts.test_tokenizers import TEXTS
from app.contracts.resources.inputs.texts import TokenizerTraining
from workers.engine.data.texts.training import trained_tokenizer
print(trained_tokenizer(TokenizerTraining(size=400), TEXTS).sha256)
"""


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    """A new process with another seed of hashes than this one."""
    here = trained_tokenizer(TokenizerTraining(size=400), TEXTS).sha256
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
    )
    assert done.stdout.strip() == here


def test_a_row_begins_and_ends_with_special_tokens_and_pairs_have_one_between() -> None:
    tokenizer = trained_tokenizer(TokenizerTraining(size=400), TEXTS)
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    (single,) = tokenizer.encode([("the river",)], 32)
    (pair,) = tokenizer.encode([("the river", "the garden")], 32)
    assert single[0] == cls
    assert single.tolist().count(sep) == 1
    assert single[-1] == sep
    assert pair.tolist().count(sep) == 2
    assert pair[: len(single)].tolist() == single.tolist()


def test_long_texts_lose_their_end_and_keep_the_last_special_token() -> None:
    tokenizer = trained_tokenizer(TokenizerTraining(size=400), TEXTS)
    (whole,), (cut,) = (tokenizer.encode([("river " * 50,)], length) for length in (200, 10))
    assert len(whole) > len(cut) == 10
    assert cut[:-1].tolist() == whole[:9].tolist()
    assert cut[-1] == SPECIAL.index("[SEP]")


@pytest.mark.parametrize("text", ["naïve café 東京 🙂", "\x00\ufffd\u200b", "ﬁ e\u0301"])
def test_every_text_has_tokens_of_the_vocabulary(text: str) -> None:
    tokenizer = trained_tokenizer(TokenizerTraining(size=400), TEXTS)
    (ids,) = tokenizer.encode([(text,)], 64)
    assert len(ids) > 2
    assert ids.max() < tokenizer.vocabulary
    assert SPECIAL.index("[UNK]") not in ids.tolist(), "bytes can write everything"


def test_capital_letters_count_where_the_manifest_says_so() -> None:
    for lowercase in (True, False):
        tokenizer = trained_tokenizer(TokenizerTraining(size=400, lowercase=lowercase), TEXTS)
        small, large = tokenizer.encode([("river",), ("RIVER",)], 32)
        assert (small.tolist() == large.tolist()) is lowercase


def test_texts_without_a_character_train_no_tokenizer() -> None:
    with pytest.raises(UserError, match="no characters") as error:
        trained_tokenizer(TokenizerTraining(), [("",), ("  ",)])
    assert error.value.code == "no_text"


def test_padding_and_truncation_of_a_file_are_not_applied() -> None:
    own = trained_tokenizer(TokenizerTraining(size=400), TEXTS)
    theirs = Tokenizer.from_str(own.content.decode())
    theirs.enable_padding(length=64)
    theirs.enable_truncation(4)
    found = TextTokenizer(theirs.to_str().encode())
    assert found.sha256 == own.sha256
    assert [each.tolist() for each in found.encode(TEXTS[:5], 64)] == [
        each.tolist() for each in own.encode(TEXTS[:5], 64)
    ]


def _with_id(place: int) -> bytes:
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    document: dict[str, Any] = json.loads(tokenizer.to_str())
    document["model"]["vocab"]["b"] = place
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not read it"),
        (b"\xff\xfe{}", "does not read it"),
        (b"{}", "does not read it"),
        (b'{"model": {"type": "Unknown"}}', "does not read it"),
        (b"[" * 100_000, "does not read it"),
    ],
)
def test_files_that_are_no_tokenizers_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        TextTokenizer(content)
    assert error.value.code == "unusable_tokenizer"


def test_an_id_beyond_any_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="largest id is 1000000000") as error:
        _ = TextTokenizer(_with_id(10**9)).vocabulary
    assert error.value.code == "unusable_tokenizer"


def test_a_tokenizer_without_a_token_that_fills_rows_is_refused() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(UserError, match="no token that fills rows"):
        TextTokenizer(tokenizer.to_str().encode()).encoding(8)
