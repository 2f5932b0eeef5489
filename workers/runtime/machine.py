"""The memory of this machine."""

import os
from contextlib import suppress
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup/memory.max")


def machine_memory(group: Path = _GROUP) -> int:
    """Bytes of memory that there are, or less under the limit of a control group (version 2), as in a container."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no such group, or "max": no limit
        return min(there, int(group.read_text()))
    return there
