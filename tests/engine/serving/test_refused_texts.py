"""Texts, words and ids of a request that cannot be right: the place and what was found there."""

import json
from typing import Any

import numpy as np
import pytest

from app.contracts.resources.inputs.texts import TokenEncoding, encoding_of_ids
from workers.engine.serving.rows.columns import inputs_of
from workers.engine.serving.rows.documents import read_json
from workers.engine.serving.rows.errors import RowErrors, pointer
from workers.engine.serving.rows.forms import InputForm

TOKENS = TokenEncoding(tokenizer="0" * 64, vocabulary=400, padding=0, padding_token="[PAD]", length=64)
TEXT = InputForm("text", "int64", (None,), ("text",), tokens=TOKENS)
PAIR = InputForm("pair", "int64", (None,), ("one", "two"), tokens=TOKENS)
WORDS = InputForm("words", "int64", (None,), ("words",), tokens=TOKENS.model_copy(update={"words": True}))
IDS = InputForm("ids", "int64", (64,), ("ids",), tokens=encoding_of_ids(400, 0, 64))

CASES: list[tuple[InputForm, Any, str, str, str]] = [
    (TEXT, [[2, 999999, 3]], "/0/1", "out_of_range", "expected ids from 0 to 399, found 999999: "),
    (TEXT, [[2, 3], [2, -1]], "/1/1", "out_of_range", "found -1: "),
    (TEXT, [[2] * 100], "", "wrong_type", "found int64 [1, 100]: "),
    (TEXT, [[]], "", "wrong_type", "found int64 [1, 0]: "),
    (TEXT, ["Ada", 3], "/1", "wrong_type", "expected texts for `text`, found the number 3: "),
    (TEXT, ["Ada", None], "/1", "wrong_type", "found null: "),
    (TEXT, [["Ada", "Bob"]], "/0", "wrong_type", "found a list of 2: "),
    (TEXT, [["Ada"], [10**60]], "/1/0", "wrong_type", "found the number 1000000000000000000000000000000000000000…: "),
    (PAIR, [["Ada", True]], "/0/1", "wrong_type", "expected pairs of texts for `pair`, found a boolean: "),
    (PAIR, ["Ada"], "/0", "wrong_type", "found text: "),
    (WORDS, [["Ada"], []], "/1", "wrong_type", "expected a list of words for `words`, found an empty list: "),
    (WORDS, [["Ada", None]], "/0/1", "wrong_type", "found null in place 2 of the list: "),
    (WORDS, [[3, 4]], "/0/0", "wrong_type", "found the number 3 in place 1 of the list: "),
    (WORDS, ["Ada"], "/0", "wrong_type", "found text: "),
    (WORDS, [["", ""]], "/0", "wrong_type", "found empty texts alone: "),
    (IDS, [[2, 3.5]], "/0/1", "wrong_type", "found the number 3.5 in place 2 of the list: "),
    (IDS, [[2, 400]], "/0/1", "out_of_range", "found 400: "),
]


@pytest.mark.parametrize(("form", "rows", "place", "code", "found"), CASES, ids=lambda each: str(each)[:40])
def test_wrong_texts_words_and_ids_are_told_by_place_and_what_was_found(
    form: InputForm, rows: Any, place: str, code: str, found: str
) -> None:
    with pytest.raises(RowErrors) as caught:
        read_json(json.dumps({"inputs": {form.name: rows}}).encode(), {form.name: form}, frozenset())
    (problem,) = caught.value.problems
    assert (problem.pointer, problem.code) == (f"/inputs/{form.name}{place}", code)
    assert found in problem.detail


@pytest.mark.parametrize("sent", [[["Ada"], ["Bob"]], ["Ada", "Bob"]])
def test_a_list_of_one_text_is_that_text(sent: list[Any]) -> None:
    body = json.dumps({"inputs": {"text": sent}}).encode()
    assert read_json(body, {"text": TEXT}, frozenset())["text"].tolist() == [["Ada"], ["Bob"]]


def test_ids_of_an_array_are_told_by_the_key_of_its_file() -> None:
    with pytest.raises(RowErrors) as caught:
        inputs_of({"text": TEXT}, {"text": np.array([[2, 3], [2, 500]])}, lambda key, at: pointer(key, *at), None)
    assert [each.pointer for each in caught.value.problems] == ["/text/1/1"]
