"""Zombies: a supervisor that is stopped past its lease, while its job is finished elsewhere, writes nothing when it is
continued: every row of every table and all bytes of the store are as they were. Its child has ended by itself.
"""

from pathlib import Path

from tests.faults.kills.zombies import HELD, zombies
from tests.faults.seeds import SEED


def test_a_zombie_writes_nothing_wherever_it_was_stopped(database_url: str, tmp_path: Path) -> None:
    """Two places, the second of them by a zombie on another host; the campaign goes through all."""
    found = zombies(SEED + HELD.index("before-publish") - 1, tmp_path, database_url, places=2)
    assert found.flawless, f"seed {SEED}: {found}"
    assert found.others == 2
