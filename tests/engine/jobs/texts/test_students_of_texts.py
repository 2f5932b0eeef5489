"""Students and teachers of texts: training, tokenizers, files."""

import pytest

from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.texts.sentences import BERT, TRAINING, with_sentences


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    harness = with_sentences(tmp_path_factory.mktemp("texts"))
    harness.outcome = harness.run({"kind": "train", "model": BERT, "training": TRAINING, "exports": ["onnx"]})  # type: ignore[attr-defined]
    return harness


def test_a_student_of_texts_learns_from_words(trained: EngineHarness) -> None:
    report = report_of(trained.outcome)
    print(report.tasks)
