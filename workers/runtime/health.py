"""`python -m workers.runtime.health`: exit status 0 while a worker of this host is ready to work."""

import os
import sys

from app.settings import Settings
from workers.runtime.clock import host_clock
from workers.runtime.paths import Paths

HEARTBEAT_SECONDS = 5.0
"""Interval between two heartbeats of a ready worker."""


def write_heartbeat(paths: Paths) -> None:
    """Write the host clock: file times follow the wall clock, which can be set."""
    descriptor = os.open(paths.heartbeat, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, os.write(descriptor, f"{host_clock():020.3f}".encode()))  # readers see it whole
    finally:
        os.close(descriptor)


def seconds_since_heartbeat(paths: Paths) -> float:
    """Seconds since a worker of this host last wrote a heartbeat; infinite if none did since boot."""
    try:
        silent = host_clock() - float(paths.heartbeat.read_text())
    except (FileNotFoundError, ValueError):
        return float("inf")
    return max(0.0, silent) if silent > -1.0 else float("inf")  # what is written is rounded


def main() -> int:
    """The exit status."""
    return 0 if seconds_since_heartbeat(Paths(Settings().data_dir)) < 3 * HEARTBEAT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
