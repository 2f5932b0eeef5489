"""The schedule `plateau` against torch, in jobs with control, repeats and searches."""

import math

import pytest
import torch

from tests.engine.harness import STUDENT, EngineHarness, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, soft
from tests.engine.plain_training import plain_settings
from workers.engine.training.updates.lr_schedules import Plateau

SCORES = [0.1, 0.5, 0.4, 0.5, 0.3, 0.52, 0.6, 0.6, math.nan, 0.6, 0.61, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_the_rate_is_that_of_torchs_scheduler(patience: int, min_delta: float) -> None:
    settings = {"factor": 0.5, "patience": patience, "min_delta": min_delta, "min_rate": 0.01}
    training = plain_settings(learning_rate=0.2, schedule={"kind": "plateau", **settings})
    plateau = Plateau.of(training)
    assert plateau is not None
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.5, patience, threshold=min_delta, threshold_mode="abs", min_lr=0.01, eps=0.0
    )
    for score in SCORES:
        plateau.record(score)
        scheduler.step(score)
        assert plateau.rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert plateau.rate < 0.2


def test_a_rate_below_the_least_one_is_not_raised() -> None:
    schedule = {"kind": "plateau", "patience": 0, "min_rate": 0.5}
    plateau = Plateau.of(plain_settings(learning_rate=0.1, schedule=schedule))
    assert plateau is not None
    plateau.record(math.nan)
    assert plateau.rate == 0.1


def test_the_rate_falls_after_epochs_that_are_no_better_and_the_series_says_so(harness: EngineHarness) -> None:
    harness.dataset()
    schedule = {"kind": "plateau", "patience": 1, "factor": 0.5}
    training = {"epochs": 10, "batch_size": 16, "learning_rate": 0.05, "warmup": 4, "schedule": schedule}
    harness.run({"kind": "train", "target": "label", "model": STUDENT, "training": training})
    rates = harness.log.series("train/learning_rate")
    follow = Plateau.of(plain_settings(learning_rate=0.05, schedule=schedule))
    assert follow is not None
    wanted = []
    for score in harness.log.series("validation/label/accuracy"):
        wanted.append(follow.rate)
        assert score is not None
        follow.record(score)
    assert rates == pytest.approx(wanted)
    assert wanted[-1] < 0.05


def test_control_repeats_and_candidates_of_a_search_follow_their_own_score(harness: EngineHarness) -> None:
    add_teachers(harness)
    schedule = {"kind": "plateau", "patience": 0, "factor": 0.1}
    training = {**TRAINING, "epochs": 3, "schedule": schedule}
    report = report_of(harness.run(soft({"method": "kd"}, training=training) | {"repeats": 2}, "repeats"))
    for prefix in ("", "control/", "repeat-1/", "repeat-1/control/"):
        assert len(harness.log.series(f"{prefix}train/learning_rate")) == 3
    assert report.control is not None
    term = {"method": "kd", "temperature": {"search": [1.0, 8.0]}}
    searched = report_of(harness.run(soft(term, training=training), "searched"))
    assert searched.search is not None
    for candidate in ("search-0/", "search-1/"):
        assert len(harness.log.series(f"{candidate}train/learning_rate")) == 3
