"""Learners that train at once have the bits of learners that train one after another."""

import threading
import time
from typing import Any

import pytest
import torch

from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.training.test_steps_on_a_gpu import TASK, images
from workers.engine.training.learner import Learner
from workers.engine.training.passes import side_by_side
from workers.engine.training.passes.side_by_side import SideBySide

CONVNET: dict[str, Any] = {"family": "convnet", "channels": [4, 8]}


def distilled(harness: EngineHarness, job: str, student: dict[str, Any], **order: Any) -> dict[str, str]:
    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "threads": 1}
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "student": student}
    harness.run({**spec, "repeats": 1, "training": settings}, job, **order)
    return {role: harness.digest(job, role=role) for role in ("student", "control")}


@pytest.fixture
def taught(harness: EngineHarness) -> EngineHarness:
    harness.dataset(images(300), **TASK)
    teaching = {"kind": "train", "target": "label", "model": CONVNET, "training": {"epochs": 12, "batch_size": 32}}
    harness.teacher(harness.run(teaching, "teacher"), harness.folder / "teacher" / "attempt-1")
    return harness


def places(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, bool, int]]:
    """(learner, whether it is on the main thread, threads of its operations) of every step that is made."""
    found: set[tuple[str, bool, int]] = set()
    forward = Learner.forward

    def watched(learner: Learner, part: Any) -> Any:
        is_main = threading.current_thread() is threading.main_thread()
        found.add((learner.name, is_main, torch.get_num_threads()))
        return forward(learner, part)

    monkeypatch.setattr(Learner, "forward", watched)
    return found


def test_a_student_and_its_control_have_the_same_bits_at_once_and_one_after_another(
    taught: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second step runs at once, and the control then on one thread of its own."""
    cache = str(taught.folder / "own-cache")
    one_by_one = distilled(taught, "one-by-one", CONVNET)
    monkeypatch.setattr(side_by_side, "_TRIED", side_by_side._PERIOD)
    found = places(monkeypatch)
    assert distilled(taught, "at-once", CONVNET, cores=2, cache_dir=cache) == one_by_one
    assert found == {("student", True, 1), ("control", True, 1), ("control", False, 1)}


@pytest.mark.parametrize("case", ["dropout", "one core"])
def test_learners_that_draw_random_numbers_or_have_no_core_train_one_after_another(
    taught: EngineHarness, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    student = {**CONVNET, "hidden": [8], "dropout": 0.5} if case == "dropout" else CONVNET
    found = places(monkeypatch)
    distilled(taught, case, student, cores=2 if case == "dropout" else 1)
    assert {is_main for _, is_main, _ in found} == {True}


def test_the_faster_way_is_taken_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once two steps take 3 seconds at first and 5 later, one after another 4; one trial step is disturbed."""
    monkeypatch.setattr(side_by_side, "_TRIED", 2)
    monkeypatch.setattr(side_by_side, "_PERIOD", 20)
    now = [0.0]
    learners, ways = SideBySide(2, lambda: now[0]), []
    for number in range(40):

        def step(number: int = number) -> None:
            at_once = 1.5 if number < 20 else 2.5
            now[0] += (at_once if learners.at_once else 2.0) + 100.0 * (number == 1)

        learners.run([step, step])
        ways.append(learners.at_once)
    learners.close()
    assert ways[:4] == ways[20:24] == [False, True, False, True]
    assert ways[4:20] == [True] * 16
    assert ways[24:] == [False] * 16


def test_an_error_of_one_learner_is_raised_when_all_have_ended() -> None:
    learners, ended = SideBySide(2), []
    learners._count = 1  # the second step of a trial runs at once

    def fails() -> None:
        raise ValueError("on purpose")

    def ends() -> None:
        time.sleep(0.05)
        ended.append(True)

    for steps in ([fails, ends], [ends, fails]):
        learners._count = 1
        with pytest.raises(ValueError, match="on purpose"):
            learners.run(steps)
    assert ended == [True, True]
    learners.close()
