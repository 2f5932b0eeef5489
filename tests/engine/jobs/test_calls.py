"""Few calls lie between a job's entry point and the formula of a loss."""

import sys
from types import CodeType, FrameType
from typing import Any

from tests.engine.harness import EngineHarness
from tests.engine.jobs.distillation.trained_jobs import DISTILL, add_trained_teacher
from workers.engine.losses.logits.kd import class_kd
from workers.engine.run import execute

MOST_CALLS = 10


def test_a_job_s_entry_point_is_few_calls_above_the_formula_of_a_loss(harness: EngineHarness) -> None:
    add_trained_teacher(harness)
    depths: list[int] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is class_kd.__code__ and not depths:
            depths.append(_calls_between(frame, execute.__code__))

    sys.setprofile(profile)
    try:
        harness.run({**DISTILL, "training": {**DISTILL["training"], "epochs": 1}})
    finally:
        sys.setprofile(None)
    assert depths, "the job never came to the formula"
    assert depths[0] <= MOST_CALLS


def _calls_between(frame: FrameType, entry: CodeType) -> int:
    calls = 0
    above: FrameType | None = frame
    while above is not None and above.f_code is not entry:
        calls += 1
        above = above.f_back
    assert above is not None, "the formula was not called by a job"
    return calls
