"""A service that has run many jobs holds no more than one that has run a few."""

from pathlib import Path

import pytest

from tests.exhaustive import sample
from tests.faults.load.long_life import SPARE_DESCRIPTORS, SPARE_THREADS, live_through
from tests.faults.services.control_service import ControlledService

GROWN_MEGABYTES = 16.0
"""Caches that fill up to their bounds, and an allocator's own mind."""


@pytest.mark.parametrize("jobs", sample((16, 30), keep=(16,)))
def test_many_jobs_leave_no_process_no_descriptor_no_file_and_no_memory_behind(jobs: int, tmp_path: Path) -> None:
    with ControlledService(tmp_path / "data", checkpoint_kept_hours=0, lease_seconds=4) as service:
        early, late, well = live_through(service, tmp_path, jobs)
    assert well == jobs
    assert late.processes == early.processes == ("-m workers", "fork_server", "serve")
    assert late.descriptors <= early.descriptors + SPARE_DESCRIPTORS
    assert late.threads <= early.threads + SPARE_THREADS
    assert late.files == early.files
    assert late.temporary == early.temporary
    assert late.megabytes < early.megabytes + GROWN_MEGABYTES
