"""JSON that would break a reader is refused, with a code, and never repeated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.errors import BadRequest, Invalid
from app.http.strict_json import parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def code_of(text: str | bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        parse(text.encode() if isinstance(text, str) else text)
    assert "secret" not in caught.value.detail
    return caught.value.code


@given(VALUES)
def test_plain_json_is_read_as_the_standard_reads_it(value: object) -> None:
    try:
        data = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # hypothesis makes lone surrogates too
        return
    assert parse(data) == value


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_a_number_that_is_not_finite_is_reported_by_its_place(number: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(f'{{"a/b": [1, {{"c": {number}}}], "d": {number}, "e": 2}}'.encode())
    assert caught.value.status == 422
    assert [(problem.pointer, problem.code) for problem in caught.value.problems or ()] == [
        ("/a~1b/1/c", "not_finite"),
        ("/d", "not_finite"),
    ]


def test_of_ten_thousand_such_numbers_the_first_ones_are_reported() -> None:
    with pytest.raises(Invalid) as caught:
        parse(b"[" + b"NaN," * 10_000 + b"1]")
    assert caught.value.problems is not None
    assert len(caught.value.problems) == 50


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'{"\udfff": 1}', r'["secret \udc00\ud800"]', r'{"a": {"b": ["\uD83D"]}}']
)
def test_lone_surrogates_are_refused(text: str) -> None:
    assert code_of(text) == "lone_surrogate"


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse(rb'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": {"secret": 1, "secret": 1}}', r'{"a": 1, "\u0061": 2}'])
def test_a_key_named_twice_is_refused(text: str) -> None:
    assert code_of(text) == "duplicate_key"


@pytest.mark.parametrize("text", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000, "[" * 100_000])
def test_ten_thousand_levels_are_refused_without_recursion(text: str) -> None:
    assert code_of(text) == "too_deep"


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = "[" * 1000
    assert parse(json.dumps({"a": text, 'b\\"': ["{" * 500]}).encode()) == {"a": text, 'b\\"': ["{" * 500]}


@pytest.mark.parametrize(
    "text", ["", "{", "secret", "{'a': 1}", '{"a": 01}', "[1,]", b"\xef\xbb\xbf{}", b'"\xff"', b'"\xed\xa0\x80"']
)
def test_what_is_no_json_is_refused_with_its_place(text: str | bytes) -> None:
    assert code_of(text) == "invalid_json"


def test_a_manifest_that_is_no_json_is_called_so_with_line_and_column() -> None:
    with pytest.raises(BadRequest) as caught:
        parse(b"{\n 'name': 1}", "the manifest")
    assert "the manifest is no JSON" in caught.value.detail
    assert "at line 2, column 2" in caught.value.detail
    assert "double quotes" in caught.value.detail
