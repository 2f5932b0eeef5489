"""`python -m workers.runtime.health`: exit status 0 while a worker of this host is ready to work."""

import sys
import time

from app.settings import Settings
from workers.runtime.places import Places

SIGN_SECONDS = 5.0
"""A ready worker shows that it lives this often."""


def silent_seconds(places: Places) -> float:
    """How long ago a worker of this host last showed that it lives; infinite if none ever did."""
    try:
        return max(0.0, time.time() - places.sign_of_life.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")


def main() -> int:
    """The exit status."""
    return 0 if silent_seconds(Places(Settings().data_dir)) < 3 * SIGN_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
