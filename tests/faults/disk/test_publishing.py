"""Every system call of every publication fails in turn: what is read afterwards is whole, of one version or the other,
and publishing again succeeds. Every file of it is flipped bit by bit, in a sample: no bad load.

`STILLHOUSE_FAULT_SEED` chooses calls, faults and bits.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign.outcome import Needs, Outcome
from tests.faults.disk.publications import PUBLICATIONS
from tests.faults.disk.storage_faults import FEW_CALLS, FEW_FLIPS, FLIPPED, failed_calls_of, flipped_bits
from tests.faults.disk.system_calls import Publishers, needs_strace

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))


@pytest.fixture(scope="module")
def publishers() -> Iterator[Publishers]:
    """Each publication has a process of its own, which this one forks."""
    try:
        needs_strace()
    except Needs as error:
        pytest.skip(str(error))
    with Publishers() as running:
        yield running


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_it_is_whole_or_absent_whichever_system_call_fails(name: str, publishers: Publishers, tmp_path: Path) -> None:
    """And what was published, as its process believes, is there."""
    try:
        found = failed_calls_of(publishers, name, SEED, tmp_path / name, FEW_CALLS)
    except Needs as error:
        pytest.skip(str(error))
    assert found == Outcome(others=found.others), f"seed {SEED}"
    assert found.others > 5


@pytest.mark.parametrize("name", FLIPPED)
def test_no_flipped_bit_is_ever_loaded(name: str, tmp_path: Path) -> None:
    """The older version, or none, is what is found; what was damaged is published anew."""
    assert flipped_bits(SEED, tmp_path, names=(name,), most=FEW_FLIPS) == Outcome(others=FEW_FLIPS), f"seed {SEED}"
