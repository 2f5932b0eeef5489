"""An uploaded network of texts answers for texts and for pairs of them, as transformers does."""

from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness
from tests.engine.jobs.texts.teachers import LENGTH, as_teacher, network, packed, words_alone
from tests.engine.serving.serving import answer, npz, session_of


def test_an_upload_answers_for_texts_pairs_and_missing_texts(harness: EngineHarness) -> None:
    theirs = network()
    model = as_teacher(harness, packed(harness.folder, theirs))
    session = session_of(harness.folder, model, tokenizers=harness.tokenizers)
    sent: list[Any] = [["the number", "and the"], "the number", ["the"], None]

    def logits(*texts: str) -> Any:
        batch = words_alone()(*texts, truncation=True, max_length=LENGTH, return_tensors="pt")
        with torch.no_grad():
            return theirs(**batch).logits[0].softmax(0).tolist()

    expected = [logits("the number", "and the"), logits("the number"), logits("the"), logits("")]
    found = answer(session, "json", {"inputs": {"text": sent}})["outputs"]["label"]["probabilities"]
    assert found == [pytest.approx(each, abs=1e-5) for each in expected]
    lines = '{"text": ["the number", "and the"]}\n{"text": "the number"}\n{"text": ["the"]}\n{"text": null}'
    assert answer(session, "jsonl", lines)["outputs"]["label"]["probabilities"] == found
    pairs = npz({"text": [["the number", "and the"]]})
    assert answer(session, "npz", pairs)["outputs"]["label"]["probabilities"][0] == pytest.approx(found[0], abs=1e-6)


def test_an_uploaded_tagger_answers_for_each_word_of_a_list(harness: EngineHarness) -> None:
    """The trap: a list of two words is no pair of texts."""
    theirs = network(head="Token")
    model = as_teacher(harness, packed(harness.folder, theirs), "token_class")
    session = session_of(harness.folder, model, tokenizers=harness.tokenizers)
    rows = [["the", "number"], ["and"], ["the", "number", "and"]]
    found = answer(session, "json", {"inputs": {"text": rows}})["outputs"]["label"]["probabilities"]
    assert [len(each) for each in found] == [2, 1, 3]
    batch = words_alone()(rows[0], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**batch).logits[0, 1:-1].softmax(1)
    torch.testing.assert_close(torch.tensor(found[0]), expected, rtol=0, atol=1e-5)
