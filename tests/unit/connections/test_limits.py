"""The soft limit of open files is raised for the connections of the settings."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.connections.limits import PER_CONNECTION, RESERVED, count_connections
from app.settings import Settings


@pytest.fixture
def few_files() -> Iterator[int]:
    """A soft limit of open files that is too small; the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_small_soft_limit_is_raised_as_far_as_the_connections_need(few_files: int, tmp_path: Path) -> None:
    wanted = 100 * PER_CONNECTION + RESERVED
    assert wanted > 200
    counted = count_connections(Settings(connections=100, data_dir=tmp_path))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, few_files)
    admitted = [counted.admit(number, "10.0.0.1") for number in range(51)]
    assert [each is not None and each.spare for each in admitted] == [False] * 50 + [
        True
    ]  # half of them of one address
