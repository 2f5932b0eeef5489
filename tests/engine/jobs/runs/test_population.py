"""Several seeds as one vectorised step: each is the run that it is alone, up to rounding."""

from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness
from tests.engine.jobs.distillation.method_specs import add_teachers, soft
from tests.engine.jobs.runs.seeded_runs import seeded_runs
from workers.engine.jobs.runs.results import RunResult

Json = dict[str, Any]


def assert_equal_up_to_rounding(together: list[RunResult] | None, alone: list[RunResult], role: str) -> None:
    assert together is not None
    for one, other in zip(together, alone, strict=True):
        member, single = one.models[role], other.models[role]
        assert (member.epoch, member.steps) == (single.epoch, single.steps)
        assert member.score == pytest.approx(single.score, abs=1e-6)
        assert member.loss == pytest.approx(single.loss, rel=1e-4)
        for name, value in single.network.state_dict().items():
            torch.testing.assert_close(member.network.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_each_member_is_the_run_of_its_seed(harness: EngineHarness) -> None:
    add_teachers(harness)
    with seeded_runs(harness, soft({"method": "kd"}, repeats=3)) as runs:
        for role, each in (("student", runs.students), ("control", runs.controls)):
            assert_equal_up_to_rounding(runs.runner.run_population(f"{role}s", each), runs.alone(each), role)
