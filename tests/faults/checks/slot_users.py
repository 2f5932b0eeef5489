"""Children check by themselves that no other child uses their slot.

They take a lock of their own, which the kernel releases at their death, independent of the runtime's locks.
"""

import fcntl
import os
import time
from pathlib import Path

HALTED = "halted"
"""The file in its attempt's folder that a child writes when it has halted."""
_held: list[int] = []
_TRIES = 10
"""The kernel may still be closing the files of a predecessor that is dead."""


def sole_user_of_slot(attempt: Path) -> None:
    """Write a file below `<data>/slot-users` if another live child uses the slot whose lock this process has."""
    folder = attempt.parents[2] / "slot-users"
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
    """The files that children wrote; fails where no child has checked its slot."""
    assert any((data / "slot-users").glob("*.lock")), "no child has checked its slot"
    return [path.name for path in (data / "slot-users").glob("doubled-*")]
