"""Bit-exact resume: the real child of a real service is killed in all phases of its job, and its supervisor while it
publishes; the student's SHA-256 is that of the undisturbed run. Step by step and method by method: tests/engine.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.kills.kills_in_phases import killed_in_phases
from tests.faults.seeds import SEED
from tests.faults.services.small_jobs import OPTIMIZERS, SCHEDULES, described


def _killed(kinds: Sequence[str], folder: Path, url: str) -> None:
    found = killed_in_phases(kinds, SEED, folder, url, points=1)
    assert found.flawless, f"seed {SEED}: {found}"
    assert found.bit_exact
    assert found.kills == len(kinds) + 1


def test_a_training_or_distillation_killed_in_any_phase_gives_the_same_student(sqlite_url: str, tmp_path: Path) -> None:
    _killed(("train", "distill"), tmp_path, sqlite_url)


def test_several_tasks_with_and_without_teachers_killed_in_any_phase_give_the_same_student(
    postgresql_url: str, tmp_path: Path
) -> None:
    _killed(("multitask", "combination"), tmp_path, postgresql_url)


@pytest.mark.parametrize("parts", [("optimizer",), ("schedule",), ("optimizer", "schedule", "views")])
def test_rounds_go_through_every_optimizer_and_schedule_with_and_without_views(parts: tuple[str, ...]) -> None:
    seen = {tuple(str(described(seed).get(part)) for part in parts) for seed in range(24)}
    several = {"optimizer": len(OPTIMIZERS), "schedule": len(SCHEDULES), "views": 2}
    expected = 1
    for part in parts:
        expected *= several[part]
    assert len(seen) == expected
