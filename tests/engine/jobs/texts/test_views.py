"""Views of texts in whole jobs: which ids a tokenizer gives them, teachers, stored targets, interruptions, refusals."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from app.contracts.problems import UserError
from app.contracts.resources.inputs.texts import TokenizerTraining, encoding_of_ids
from app.contracts.specs.jobs import JOB_SPEC
from app.contracts.specs.views import WordDropoutView
from tests.engine.data.augment.images import views_of
from tests.engine.harness import DATASET, SECOND, TEACHER, EngineHarness, StopAtStep, report_of, resolved
from tests.engine.jobs.texts import tags
from tests.engine.jobs.texts.sentences import BERT, TRAINING, sentences, with_sentences
from tests.engine.jobs.texts.teachers import as_teacher, network, packed
from workers.engine.common.stop import Stopped
from workers.engine.data.texts.tokenizer import TextTokenizer
from workers.engine.data.texts.training import SPECIAL, trained_tokenizer
from workers.engine.data.texts.views import with_ids

DROPPED: dict[str, Any] = {"seed": 5, "transforms": [{"kind": "word_dropout", "probability": 0.3}]}
SHORT: dict[str, Any] = {"steps": 8, "batch_size": 40, "learning_rate": 0.01, "seed": 1}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "teachers": [{"model": TEACHER}],
    "student": BERT,
    "training": {**SHORT, "views": DROPPED},
    "distillation": {"allow_chance_teacher": True},
    "control": False,
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    """Sentences, a teacher that was trained on them, and one with a tokenizer of its own."""
    made = with_sentences(tmp_path_factory.mktemp("texts"))
    training = {**TRAINING, "views": DROPPED}
    outcome = made.run({"kind": "train", "model": BERT, "training": training}, job="teacher")
    as_teacher(made, packed(tmp_path_factory.mktemp("folder"), network()))
    made.models[SECOND] = made.models[TEACHER]
    made.teacher(outcome, made.folder / "teacher" / "attempt-1")
    return made


def refused(harness: EngineHarness, spec: dict[str, Any]) -> list[tuple[str, str, str]]:
    assert harness.data is not None
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DATASET, **spec}))
    facts = {name: each.facts for name, each in harness.models.items()}
    return [(e.pointer, e.code, e.detail) for e in resolved(parsed, {DATASET: harness.data.facts}, facts).problems]


def the_view(views: Any) -> WordDropoutView:
    (view,) = views.transforms
    assert isinstance(view, WordDropoutView)
    return view


def test_tokens_become_the_mask_token_of_the_tokenizer_and_its_special_tokens_stay() -> None:
    tokenizer = trained_tokenizer(TokenizerTraining(size=400), [(row["text"],) for row in sentences(50)])
    view = the_view(with_ids(views_of({"kind": "word_dropout", "keep": [9]}), tokenizer.encoding(20), tokenizer))
    assert view.token == SPECIAL.index("[MASK]")
    assert view.keep == (*range(len(SPECIAL)), 9)
    given = with_ids(views_of({"kind": "word_dropout", "token": 8}), tokenizer.encoding(20), tokenizer)
    assert the_view(given).token == 8


def test_of_a_tokenizer_without_mask_the_unknown_token_replaces_and_without_both_it_is_asked_for() -> None:
    def of(*words: str) -> TextTokenizer:
        made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[-1]))
        made.add_special_tokens(["<pad>"])
        return TextTokenizer(made.to_str().encode())

    unknown = of("<pad>", "a", "<unk>")
    assert the_view(with_ids(views_of({"kind": "word_dropout"}), unknown.encoding(8), unknown)).token == 2
    neither = of("<pad>", "a", "b")
    with pytest.raises(UserError, match="give `token`") as error:
        with_ids(views_of({"kind": "word_dropout"}), neither.encoding(8), neither)
    assert error.value.code == "view_undefined"


def test_rows_of_ids_keep_their_padding() -> None:
    found = with_ids(views_of({"kind": "word_dropout", "token": 3}), encoding_of_ids(12, 7, 8), None)
    assert the_view(found).keep == (7,)


def test_an_interrupted_job_gives_the_same_student_from_stored_targets_of_each_epoch(harness: EngineHarness) -> None:
    whole = report_of(harness.run(DISTILL, "whole"))
    epochs = 3  # 8 steps of 40 of 120 rows
    assert (whole.targets[0].store, whole.targets[0].passes) == ("miss", 1 + epochs)
    changes: dict[str, Any] = {"checkpoint_seconds": 0.0}
    with pytest.raises(Stopped):
        harness.run(DISTILL, "parts", stop=StopAtStep(4), **changes)
    again = report_of(harness.run(DISTILL, "parts", attempt=2, **changes))
    assert harness.digest("parts", attempt=2) == harness.digest("whole")
    assert again.targets[0].passes == 0
    harness.run({**DISTILL, "training": SHORT}, "plain")
    assert harness.digest("plain") != harness.digest("whole")


def test_the_teacher_sees_the_very_tokens_that_the_student_sees(harness: EngineHarness) -> None:
    """A student that is the teacher has nothing to learn from it: targets of other tokens would tell."""
    spec = {**DISTILL, "student": {"model": TEACHER}}
    spec["distillation"] = {**spec["distillation"], "soft_targets": {"method": "kd", "weight": 1.0}}
    spec["distillation"]["supervised"] = {"weight": 0.0}
    spec["training"] = {**SHORT, "optimizer": "sgd", "views": DROPPED}
    harness.run(spec, "same")
    assert max(value or 0.0 for value in harness.log.series("train/label/kd")) < 1e-6


def test_labels_of_tokens_stay_where_ids_are_replaced(tmp_path: Any) -> None:
    made = EngineHarness(tmp_path)
    made.file(tags.written(tmp_path, tags.tagged()), **tags.MANIFEST)
    views = {"transforms": [{"kind": "word_dropout", "probability": 0.1, "token": 1}]}
    report = report_of(made.run({"kind": "train", "model": tags.BERT, "training": {**tags.TRAINING, "views": views}}))
    assert (report.student.tasks["tag"]["accuracy"] or 0.0) > 0.9
    problems = {"transforms": [{"kind": "word_dropout"}, {"kind": "word_dropout", "token": 12}]}
    problems["transforms"] += [{"kind": "word_dropout", "token": 0}, {"kind": "flip"}]
    problems["transforms"] += [{"kind": "word_dropout", "token": 1, "keep": [2, 15]}]
    found = refused(made, {"kind": "train", "model": tags.BERT, "training": {"views": problems}})
    places = ("/0", "/1/token", "/2/token", "/3", "/4/keep/1")
    assert [each[0] for each in found] == [f"/training/views/transforms{place}" for place in places]
    said_of_each = ("give the id", "below 12, found 12", "the padding", "use `word_dropout`", "below 12, found 15")
    for (_, code, detail), said in zip(found, said_of_each, strict=True):
        assert code == "view_undefined"
        assert said in detail


def test_a_teacher_that_reads_other_tokens_is_refused_with_the_way_out(harness: EngineHarness) -> None:
    spec = {**DISTILL, "teachers": [{"model": SECOND}]}
    ((pointer, code, detail),) = refused(harness, spec)
    assert (pointer, code) == ("/teachers/0", "view_undefined")
    assert "give the student its `tokenizer`" in detail
    assert not refused(harness, {**spec, "student": {**BERT, "tokenizer": SECOND}})
