"""`python -m workers.runtime.health`: exit status 0 while a worker of this host is ready to work."""

import os
import sys

from app.settings import Settings
from workers.runtime.lifeline import host_clock
from workers.runtime.places import Places

SIGN_SECONDS = 5.0
"""A ready worker shows that it lives this often."""


def show(places: Places) -> None:
    """Say that a worker of this host lives, by the clock that nobody can set (a file's own time is the wall's)."""
    descriptor = os.open(places.sign_of_life, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, os.write(descriptor, f"{host_clock():020.3f}".encode()))  # readers see it whole
    finally:
        os.close(descriptor)


def silent_seconds(places: Places) -> float:
    """How long ago a worker of this host last showed that it lives; infinite if none did since it was booted."""
    try:
        silent = host_clock() - float(places.sign_of_life.read_text())
    except (FileNotFoundError, ValueError):
        return float("inf")
    return max(0.0, silent) if silent > -1.0 else float("inf")  # what is written is rounded


def main() -> int:
    """The exit status."""
    return 0 if silent_seconds(Places(Settings().data_dir)) < 3 * SIGN_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
