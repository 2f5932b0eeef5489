"""Exactly one end: whatever is killed, every accepted job ends once, with the very student of an undisturbed run, and
nothing is left over: no row, no file, no process, no slot that two children had.

Short forms; `make faults` goes through many seeds.
"""

from pathlib import Path

import pytest

from tests.faults.kills.kills_of_serve import killed_serve
from tests.faults.kills.kills_of_services import killed_services
from tests.faults.kills.kills_of_workers import killed_workers
from tests.faults.seeds import SEED


def test_of_many_jobs_on_two_supervisors_none_is_lost_and_none_ends_twice(database_url: str, tmp_path: Path) -> None:
    found = killed_workers(SEED, tmp_path, database_url, jobs=6, faults=8)
    assert found.flawless, f"seed {SEED}: {found}"
    assert found.kills > 0


def test_every_part_of_serve_is_killed_and_the_job_ends_once_with_the_same_student(
    sqlite_url: str, tmp_path: Path
) -> None:
    found = killed_serve(SEED, tmp_path, sqlite_url)
    assert found.flawless, f"seed {SEED}: {found}"


@pytest.mark.exhaustive  # of its kills, those of all parts are above, and those beside a second supervisor below
def test_real_jobs_on_two_supervisors_survive_kills_of_all_parts_and_of_the_api_under_a_submission(
    postgresql_url: str, tmp_path: Path
) -> None:
    found = killed_services(SEED, tmp_path, postgresql_url, faults=4, copies=1, steps=700)
    assert found.flawless, f"seed {SEED}: {found}"
    assert found.kills > 0
