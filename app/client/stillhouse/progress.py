"""Progress bars on stderr, in a terminal and in a notebook; elsewhere none, unless they are asked for.

tqdm is imported with the first bar that is shown.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """What counts a transfer."""

    def add(self, count: int) -> None:
        """Count further units; a negative number takes some back."""

    def restart(self, done: int, total: int | None) -> None:
        """Begin at `done` of `total`."""


def wanted(progress: bool | None) -> bool:
    """Whether to show progress: as asked for, else where stderr is a terminal, or in a notebook."""
    if progress is not None:
        return progress
    return "ipykernel" in sys.modules or bool(sys.stderr and sys.stderr.isatty())


class _NoBar:
    def add(self, count: int) -> None:
        pass

    def restart(self, done: int, total: int | None) -> None:
        pass


class _TransferBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def add(self, count: int) -> None:
        self._bar.update(count)

    def restart(self, done: int, total: int | None) -> None:
        self._bar.reset(total=total)
        self._bar.update(done)


@contextmanager
def transfer_bar(what: str, total: int | None, *, shown: bool) -> Iterator[Bar]:
    """A bar of bytes."""
    if not shown:
        yield _NoBar()
        return
    from tqdm.auto import tqdm

    with tqdm(desc=what, total=total, unit="B", unit_scale=True, leave=False) as bar:
        yield _TransferBar(bar)


class JobBar:
    """A bar of the percent of a job, with its phase, and the time left as the service estimates it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def show(self, job: Mapping[str, Any]) -> None:
        """Show where a job stands."""
        progress: Mapping[str, Any] = job.get("progress") or {}
        self._bar.n = 100.0 if job.get("state") == "succeeded" else min(100.0, float(progress.get("percent") or 0.0))
        self._bar.set_description_str(f"{job.get('kind')} {job.get('name') or job.get('id')}", refresh=False)
        self._bar.set_postfix_str(", ".join(words_of(job)), refresh=False)
        self._bar.refresh()


def words_of(job: Mapping[str, Any]) -> list[str]:
    """Where a job stands: state and phase, epoch, speed, the time left."""
    progress: Mapping[str, Any] = job.get("progress") or {}
    state, phase = job.get("state"), progress.get("phase")
    words = [str(phase if state == "running" and phase else state)]
    if state == "running":
        if progress.get("epochs"):
            words.append(f"epoch {progress.get('epoch')}/{progress['epochs']}")
        if progress.get("samples_per_second"):
            words.append(f"{progress['samples_per_second']:,.0f} rows/s")
        if progress.get("eta_seconds") is not None:
            words.append(f"{duration(progress['eta_seconds'])} left")
    return words


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def job_bar(*, shown: bool) -> Iterator[JobBar | None]:
    """A bar of a job; None where none is shown."""
    if not shown:
        yield None
        return
    from tqdm.auto import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
    with tqdm(desc="job", total=100.0, bar_format=layout, leave=True) as bar:
        yield JobBar(bar)
