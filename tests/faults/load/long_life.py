"""Many small jobs through one service: what its processes hold before and after."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.services.control_service import ControlledService
from tests.faults.services.serve import eventually
from tests.integration.worker.harness import command_of

SPARE_DESCRIPTORS, SPARE_THREADS = 9, 3
"""Pools of connections fill up to their bounds when they are first needed: on SQLite one more reader is a thread and
three files. What a job left behind would come again with each."""


@dataclass(frozen=True)
class Held:
    """What the service holds while it is idle."""

    processes: tuple[str, ...]
    """Which they are, in words."""
    descriptors: int
    """Open files, sockets and pipes of all of them."""
    threads: int
    megabytes: float
    """Memory that is theirs alone and what they share, each page once (Pss), of all processes."""
    files: tuple[str, ...]
    """Below the data directory: temporary files and folders, folders of jobs, locks."""
    temporary: tuple[str, ...]
    """What lies in its folder for temporary files."""


def hold(service: ControlledService) -> Held:
    """What it holds now; waits until the folders of ended jobs are swept and children have ended."""
    eventually(lambda: not [path for path in _passing(service.data) if "jobs/" in path])
    eventually(lambda: service.pid("child") is None)
    pids = service.processes()
    return Held(
        processes=tuple(sorted(_name(pid) for pid in pids)),
        descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        threads=sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
        megabytes=sum(_pss(pid) for pid in pids) / 1024,
        files=tuple(sorted(_passing(service.data))),
        temporary=tuple(sorted(path.name for path in service.temporary.rglob("*"))),
    )


def _name(pid: int) -> str:
    words = command_of(pid)
    return next((name for name in ("fork_server", "-m workers", "serve") if name in words), words)


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _passing(data: Path) -> Iterator[str]:
    """What should come and go: not the blobs, the database, or the bounded caches."""
    for folder in ("jobs", "staging", "locks", "logs"):
        with suppress(FileNotFoundError):
            for path in (data / folder).iterdir():
                yield f"{folder}/{path.name}"
    for path in (data / "cache").rglob(".*"):
        yield f"cache/{path.relative_to(data / 'cache')}"


def live_through(service: ControlledService, folder: Path, jobs: int) -> tuple[Held, Held, int]:
    """What is held after the first jobs and after all of them, and how many there were of those that ended well.

    They are of all kinds: trainings and distillations, successes, failures and cancels.
    """
    dataset = service.dataset(folder)
    teachers = [service.succeed(service.submit(service.training(dataset, steps)))["student"] for steps in (300, 1)]
    first, well = None, 0
    for number in range(jobs):
        well += _one(service, dataset, teachers, number)
        if number + 1 == max(8, jobs // 5):
            first = hold(service)
    assert first is not None
    return first, hold(service), well


def _one(service: ControlledService, dataset: str, teachers: list[str], number: int) -> bool:
    """A success, a distillation, one whose teacher knows nothing and is refused, one that is cancelled."""
    kind = number % 4
    spec: dict[str, Any] = service.training(dataset, 2_000_000 if kind == 3 else 5, seed=number)
    if kind in (1, 2):
        spec = {
            "kind": "distill",
            "repeats": 1,
            "dataset": dataset,
            "teachers": [{"model": teachers[kind - 1]}],
            "student": {"family": "mlp", "hidden": [8]},
            "training": {"steps": 5, "threads": 1, "seed": number},
        }
    job_id = service.submit(spec)
    if kind == 3:
        service.stepping(job_id)
        service.act(job_id, "cancel")
    job = service.state(job_id, "succeeded", "failed", "cancelled")
    return bool(job["state"] == {2: "failed", 3: "cancelled"}.get(kind, "succeeded"))
