"""The disk runs full under a real service: nothing is lost, uploads and jobs that do not fit answer 507, training goes
on, what is killed waits in the queue, and goes on from its last good checkpoint when space returns.
"""

import os
from pathlib import Path

import pytest

from tests.faults.campaign.outcome import Needs
from tests.faults.disk.storage_faults import full_disk

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))


def test_a_full_disk_loses_nothing_and_the_service_recovers(tmp_path: Path) -> None:
    try:
        found = full_disk(SEED, tmp_path)
    except Needs as error:
        pytest.skip(str(error))
    assert (found.lost, found.doubled, found.stuck, found.stale, found.bit_exact) == (0, 0, 0, (), True)
