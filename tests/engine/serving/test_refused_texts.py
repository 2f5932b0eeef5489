"""Texts, words and ids of a request that cannot be right: the place and what was found there."""

import json
from dataclasses import replace
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
EITHER = replace(TEXT, pairs_too=True)
PAIR = InputForm("pair", "int64", (None,), ("one", "two"), tokens=TOKENS)
WORDS = InputForm("words", "int64", (None,), ("words",), tokens=TOKENS.model_copy(update={"words": True}))
IDS = InputForm("ids", "int64", (64,), ("ids",), tokens=encoding_of_ids(400, 0, 64))

CASES: list[tuple[InputForm, Any, str, str, str]] = [
    (TEXT, [[2, 999999, 3]], "/0/1", "out_of_range", "expected ids from 0 to 399, found 999999: "),
    (TEXT, [[2, 3], [2, -1]], "/1/1", "out_of_range", "found -1: "),
    (TEXT, [[2] * 100], "", "wrong_type", "found int64 [1, 100]: "),
    (TEXT, [[]], "", "wrong_type", "found int64 [1, 0]: "),
    (TEXT, ["Ada", 3], "/1", "wrong_type", "expected texts for `text`, found the number 3: "),
    (TEXT, [["Ada", "Bob"]], "/0", "wrong_type", "found a list of 2: "),
    (TEXT, [["Ada"], [10**60]], "/1/0", "wrong_type", "found the number 1000000000000000000000000000000000000000…: "),
    (PAIR, [["Ada", True]], "/0/1", "wrong_type", "expected pairs of texts for `pair`, found a boolean: "),
    (PAIR, ["Ada"], "/0", "wrong_type", "found text: "),
    (PAIR, [None], "/0", "wrong_type", "found null: "),
    (EITHER, [["a", "b", "c"]], "/0", "wrong_type", "found a list of 3: send text once or twice"),
    (EITHER, [["a", 3]], "/0/1", "wrong_type", "expected texts or pairs of texts for `text`, found the number 3: "),
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


def test_a_missing_text_is_empty_as_in_a_dataset() -> None:
    for form, sent, expected in (
        (TEXT, ["Ada", None, [None]], [["Ada"], [""], [""]]),
        (PAIR, [["Ada", None]], [["Ada", ""]]),
        (EITHER, [["Ada", None], None], [["Ada", ""], ["", None]]),
    ):
        body = json.dumps({"inputs": {form.name: sent}}).encode()
        assert read_json(body, {form.name: form}, frozenset())[form.name].tolist() == expected


@pytest.mark.parametrize("way", ["inputs", "rows", "array"])
def test_an_upload_takes_texts_and_pairs_of_them(way: str) -> None:
    sent: list[Any] = [["Ada", "Bob"], ["Bob", "Ada"]] if way == "array" else [["Ada", "Bob"], "Ada", ["Bob"]]
    if way == "array":
        found = inputs_of({"text": EITHER}, {"text": np.array(sent)}, lambda key, at: pointer(key, *at), None)
    else:
        document = {"inputs": {"text": sent}} if way == "inputs" else {"rows": [{"text": each} for each in sent]}
        found = read_json(json.dumps(document).encode(), {"text": EITHER}, frozenset())
    assert found["text"].tolist() == (sent if way == "array" else [["Ada", "Bob"], ["Ada", None], ["Bob", None]])


def test_ids_of_an_array_are_told_by_the_key_of_its_file() -> None:
    with pytest.raises(RowErrors) as caught:
        inputs_of({"text": TEXT}, {"text": np.array([[2, 3], [2, 500]])}, lambda key, at: pointer(key, *at), None)
    assert [each.pointer for each in caught.value.problems] == ["/text/1/1"]
