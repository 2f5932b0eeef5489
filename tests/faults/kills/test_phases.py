"""Bit-exact resume: the real child of a real service is killed in all phases of its job, and its supervisor while it
publishes; the student's SHA-256 is that of the undisturbed run. Step by step and method by method: tests/engine.
"""

from pathlib import Path

import pytest

from tests.exhaustive import sample
from tests.faults.kills.kills_in_phases import killed_in_phases
from tests.faults.seeds import SEED
from tests.faults.services.small_jobs import OPTIMIZERS, SCHEDULES, described

PAIRS = (("distill", "combination"), ("train", "multitask"))
"""Kinds of job."""


@pytest.mark.parametrize(("first", "second"), sample(PAIRS, keep=(("distill", "combination"),)))
def test_a_job_killed_in_any_phase_gives_the_same_student(
    first: str, second: str, database_url: str, tmp_path: Path
) -> None:
    """A distillation and a combination come to every phase that the others come to."""
    found = killed_in_phases((first, second), SEED, tmp_path, database_url, points=1)
    assert found.flawless, f"seed {SEED}: {found}"
    assert found.bit_exact
    assert found.kills == 3


@pytest.mark.parametrize("parts", [("optimizer",), ("schedule",), ("optimizer", "schedule", "views")])
def test_rounds_go_through_every_optimizer_and_schedule_with_and_without_views(parts: tuple[str, ...]) -> None:
    seen = {tuple(str(described(seed).get(part)) for part in parts) for seed in range(24)}
    several = {"optimizer": len(OPTIMIZERS), "schedule": len(SCHEDULES), "views": 2}
    expected = 1
    for part in parts:
        expected *= several[part]
    assert len(seen) == expected
