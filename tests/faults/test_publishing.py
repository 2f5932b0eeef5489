"""Every system call of every publication fails in turn: what is read afterwards is whole, of one version or the other,
and publishing again succeeds. Every file of it is flipped bit by bit, in a sample: no bad load.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.injection import FAULTS, Publishers, needs_strace
from tests.faults.publications import BROKEN, NEW, OLD, PUBLICATIONS

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))
FLIPS = 40
MOST = int(os.environ.get("STILLHOUSE_FAULT_CALLS", "25"))
"""System calls of each publication that fail; as many as there are in a campaign."""


@pytest.fixture(scope="module")
def publishers() -> Iterator[Publishers]:
    needs_strace()
    with Publishers() as running:
        yield running


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_it_is_whole_or_absent_whichever_system_call_fails(publishers: Publishers, name: str, tmp_path: Path) -> None:
    """Each call with one of the three faults, which the seed chooses; a published one is not lost by a later fault."""
    chance, publication, log = random.Random(f"{SEED}-{name}"), PUBLICATIONS[name], tmp_path / "trace"
    before = tmp_path / "before"
    least = 0 if publication.first_stays else OLD
    before.mkdir()
    if least == OLD:
        publication.publish(before, OLD)
    shutil.copytree(before, tmp_path / "undisturbed")
    places = publishers.places(name, tmp_path / "undisturbed", NEW, log)
    assert {"fsync", "write"} <= {place.call for place in places}
    assert any(place.call.startswith("rename") for place in places)
    for number, place in enumerate(sorted(chance.sample(places, min(MOST, len(places))), key=places.index)):
        fault, folder = chance.choice(FAULTS), tmp_path / f"{number}"
        shutil.copytree(before, folder)
        status = publishers.fail_at(place, fault, name, folder, NEW, log)
        case = f"seed {SEED}: {place} with {fault} ended with {status}"
        assert status != BROKEN, case
        found = publication.found(folder)
        assert found == NEW or (status != 0 and found == least), case
        publication.publish(folder, NEW)
        assert publication.found(folder) == NEW, case
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_no_flipped_bit_is_ever_loaded(name: str, tmp_path: Path) -> None:
    """The older version, or none, is what is found; what was damaged is published anew."""
    chance, publication = random.Random(f"{SEED}-{name}"), PUBLICATIONS[name]
    whole = tmp_path / "whole"
    whole.mkdir()
    least = 0 if publication.one_place else OLD
    if least == OLD:
        publication.publish(whole, OLD)
    older = _files(whole)
    publication.publish(whole, NEW)
    fresh = sorted(_files(whole) - older)
    for number in range(FLIPS):
        folder, file = tmp_path / f"{number}", chance.choice(fresh)
        shutil.copytree(whole, folder)
        place, bit = chance.randrange((folder / file).stat().st_size), chance.randrange(8)
        _flip(folder / file, place, bit)
        case = f"seed {SEED}: bit {bit} of byte {place} of {file}"
        assert publication.found(folder) == least, case
        publication.publish(folder, NEW)
        assert publication.found(folder) == NEW, case
        shutil.rmtree(folder)


def _files(folder: Path) -> set[Path]:
    """Relative to it, without locks."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stat().st_size}


def _flip(file: Path, place: int, bit: int) -> None:
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
