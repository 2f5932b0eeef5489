"""Children that see for themselves whether they have their slot alone.

They take a lock of their own, which the kernel lets go of at their death: it knows nothing of the runtime's locks.
"""

import fcntl
import os
import time
from pathlib import Path

HALTED = "halted"
"""The file in its attempt's folder by which a child says that it stands still."""
_held: list[int] = []
_TRIES = 10
"""A predecessor that is dead may still be closing its files, one after another."""


def sole_user_of_slot(attempt: Path) -> None:
    """Note down, below `<data>/witness`, if another living child uses the slot whose lock this process inherited."""
    folder = attempt.parents[2] / "witness"
    folder.mkdir(exist_ok=True)
    slot = _slot()
    descriptor = os.open(folder / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _held.append(descriptor)
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return
    (folder / f"doubled-{slot}-{os.getpid()}").touch()


def _slot() -> str:
    for link in Path("/proc/self/fd").iterdir():
        try:
            name = link.readlink().name
        except FileNotFoundError:
            continue  # the look itself
        if name.startswith("slot-"):
            return name.removesuffix(".lock")
    raise AssertionError("a child holds the lock of its slot")


def slots_given_twice(data: Path) -> list[str]:
    """What children noted down, and no child at all is as bad: then nobody has looked."""
    assert any((data / "witness").glob("*.lock")), "no child has looked at its slot"
    return [path.name for path in (data / "witness").glob("doubled-*")]
