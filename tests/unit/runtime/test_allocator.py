"""Memory that a training frees stays in its process, and is used again."""

import os
import subprocess
import sys

from app.contracts.wire.orders import NO_THREAD_CACHE, TUNABLES
from workers.runtime.child.pool import child_environment

PAGES = 16_384
"""Of a tensor of 64 MB."""
PROGRAM = """
import resource, sys, torch
from workers.engine.common.allocator import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str, **environment: str) -> int:
    """Pages that the kernel gave for four tensors of 64 MB, one after another, after the first two."""
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.check_output(command, text=True, env={**os.environ, **environment}))


def test_freed_memory_is_used_again() -> None:
    assert faults("default") > 100, "by default the kernel gives each anew"
    assert faults("kept", **{TUNABLES: NO_THREAD_CACHE}) < 100


def test_children_of_a_worker_are_started_for_it() -> None:
    assert child_environment()[TUNABLES] == NO_THREAD_CACHE
