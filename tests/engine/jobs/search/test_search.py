"""Searches select, and the winner is trained again on the plain path; folds, controls, interruptions."""

import gc
import weakref
from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, job, soft
from workers.engine.common.stop import Stopped
from workers.engine.jobs.search import folds
from workers.engine.losses.soft_target_losses import ClassSoftTargets, Softened

Json = dict[str, Any]
TEMPERATURES = {"search": [1.0, 2.0, 8.0]}


def test_the_winners_digest_is_that_of_the_single_job(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = report_of(harness.run(soft({"method": "kd", "temperature": TEMPERATURES}), "searched"))
    assert report.search is not None
    chosen = report.search.trials[report.search.chosen]
    assert chosen.score == max(trial.score or 0.0 for trial in report.search.trials)
    temperature = chosen.values["/distillation/soft_targets/0/temperature"]
    harness.run(soft({"method": "kd", "temperature": temperature}), "single")
    assert harness.digest("searched") == harness.digest("single")


def test_the_report_has_the_whole_curve_and_as_many_controls(harness: EngineHarness) -> None:
    add_teachers(harness)
    report = report_of(harness.run(soft({"method": "kd", "temperature": TEMPERATURES})))
    assert report.search is not None
    assert [trial.values["/distillation/soft_targets/0/temperature"] for trial in report.search.trials] == [1, 2, 8]
    assert len(report.search.controls) == 3
    assert report.control is not None
    assert report.spec["distillation"]["soft_targets"][0]["temperature"] == TEMPERATURES | {"folds": None}


def test_several_searches_make_every_combination(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0]}, "weight": {"search": [0.5, 0.9]}}
    spec = job({"soft_targets": term}, training={**TRAINING, "epochs": 1, "learning_rate": {"search": [0.01, 0.1]}})
    report = report_of(harness.run(spec | {"control": False}))
    assert report.search is not None
    assert len(report.search.trials) == 8
    assert len({tuple(sorted(trial.values.items())) for trial in report.search.trials}) == 8


def test_folds_judge_by_cross_validation(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0], "folds": 3}}
    report = report_of(harness.run(soft(term) | {"control": False}))
    assert report.search is not None
    assert report.search.folds == 3
    for trial in report.search.trials:
        assert len(trial.folds) == 3
        assert trial.score == pytest.approx(sum(score or 0.0 for score in trial.folds) / 3)


def test_folds_deal_every_row_to_validation_once() -> None:
    rows = torch.arange(10, 33)
    dealt = folds(rows, 4, seed=1)
    assert torch.equal(torch.cat([held for _, held in dealt]).sort().values, rows)
    for train, held in dealt:
        assert torch.equal(torch.cat([train, held]).sort().values, rows)
    assert not torch.equal(folds(rows, 4, seed=2)[0][1], dealt[0][1])


@pytest.mark.parametrize("polls", [6, 30, 55])
def test_a_search_that_was_interrupted_trains_no_candidate_twice_and_ends_the_same(
    harness: EngineHarness, polls: int
) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd", "temperature": TEMPERATURES}, training={**TRAINING, "epochs": 2})
    whole = report_of(harness.run(spec, "whole"))
    harness.models = dict(harness.models)
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(polls), cache_dir=str(harness.folder / "other"))
    broken = report_of(harness.run(spec, "broken", attempt=2, cache_dir=str(harness.folder / "other")))
    assert broken.search == whole.search
    assert harness.digest("broken", attempt=2) == harness.digest("whole")
    assert harness.digest("broken", attempt=2, role="control") == harness.digest("whole", role="control")


def test_steps_of_progress_and_checkpoints_only_rise(harness: EngineHarness) -> None:
    add_teachers(harness)
    harness.run(soft({"method": "kd", "temperature": TEMPERATURES}), checkpoint_seconds=0.0)
    steps = [event.step for event in harness.log.checkpoints]
    assert steps == sorted(steps)
    percents = [event.percent for event in harness.log.events if event.type == "progress"]
    assert percents == sorted(percents)
    assert percents[-1] == pytest.approx(100.0)


def test_candidates_that_train_as_one_step_score_as_they_do_alone(harness: EngineHarness) -> None:
    """One by one: a learned temperature beside the searched one cannot be stacked, and is given no weight here."""
    add_teachers(harness)
    searched = {"method": "kd", "temperature": TEMPERATURES}
    together = report_of(harness.run(soft(searched), "together"))
    beside = {"method": "kd", "temperature": {"learned": True}, "weight": 0.0}
    spec = job({"soft_targets": [{**searched, "weight": 0.9}, beside], "supervised": {"weight": 0.1}})
    alone = report_of(harness.run(spec, "alone"))
    assert (harness.folder / "together" / "checkpoints" / "finished" / "search.json").exists()
    assert (harness.folder / "alone" / "checkpoints" / "finished" / "search-0").exists()
    assert together.search is not None
    assert alone.search is not None
    for one, other in zip(together.search.trials, alone.search.trials, strict=True):
        assert one.score == pytest.approx(other.score, abs=1 / 36 + 1e-9), "a validation row at most"


def test_soft_targets_of_all_rows_are_those_of_one_candidate_at_a_time(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: candidates are built before the first trains, and each copy is as large as the teacher's outputs."""
    add_teachers(harness)
    kept: list[weakref.ref[Softened]] = []
    alive: list[int] = []
    softened_once = ClassSoftTargets.softened_once

    def counted(term: ClassSoftTargets) -> ClassSoftTargets:
        gc.collect()
        alive.append(sum(each() is not None for each in kept))
        made = softened_once(term)
        kept.extend(weakref.ref(each) for each in made.softened if each is not None)
        return made

    monkeypatch.setattr(ClassSoftTargets, "softened_once", counted)
    spec = soft({"method": "kd", "temperature": TEMPERATURES})
    harness.run(spec | {"student": {"family": "mlp", "hidden": [8], "dropout": 0.1}, "control": False})
    assert len(kept) == len(TEMPERATURES["search"]) + 1, "of the winner's own run as well"
    assert max(alive) <= 1
