"""Output of the benchmarks: machine and date first, then medians, and ratios of two measurements of one run."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> str:
    """Processor, cores that this process may use, memory, system, date."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, {system}, {datetime.now(UTC):%Y-%m-%d}"


def say(title: str) -> None:
    """Print the heading of a benchmark."""
    print(f"\n{title}\n  {machine()}")


def line(name: str, seconds: Sequence[float]) -> float:
    """Print the median, the 95th percentile and the worst; the median in seconds."""
    ordered = sorted(seconds)
    median, late = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    figures = f"median {median * 1000:8.2f} ms, p95 {late * 1000:8.2f} ms, worst {ordered[-1] * 1000:8.2f} ms"
    print(f"  {name:<40} {figures} of {len(ordered)}")
    return median


def ratio(name: str, one: float, other: float) -> None:
    """Print how the first compares with the second."""
    print(f"  {name:<40} {one / other:.2f}")
