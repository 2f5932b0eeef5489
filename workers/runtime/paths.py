"""The layout of the data directory."""

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Paths below one data directory. Nothing is created here."""

    root: Path

    @property
    def inputs(self) -> Path:
        """Inputs of jobs, named by their digest."""
        return self.root / "cache" / "inputs"

    @property
    def cache(self) -> Path:
        """What jobs share: soft targets, decoded images and sounds, controls."""
        return self.root / "cache"

    @property
    def locks(self) -> Path:
        """Lock files of slots and owners."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        """The logs of crashed attempts."""
        return self.root / "logs"

    @property
    def heartbeat(self) -> Path:
        """Written by the workers of this host while they are ready; see `health`."""
        return self.locks / f"alive-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]}"

    @property
    def jobs(self) -> Path:
        """One folder for each unfinished job."""
        return self.root / "jobs"

    @property
    def own(self) -> tuple[Path, ...]:
        """The folders that workers alone write."""
        return (self.cache, self.locks, self.logs, self.jobs, self.sessions)

    def job(self, job_id: str) -> Path:
        """The folder of a job."""
        return self.jobs / job_id

    def checkpoints(self, job_id: str) -> Path:
        """Checkpoints, shared by the attempts of a job."""
        return self.job(job_id) / "checkpoints"

    def attempt(self, job_id: str, attempt: int) -> Path:
        """The folder of one attempt."""
        return self.job(job_id) / f"attempt-{attempt}"

    @property
    def sessions(self) -> Path:
        """One folder for each worker that predicts, by its owner id, with one for each warm session."""
        return self.root / "sessions"

    def input_lock(self, sha256: str) -> Path:
        """Held while an input is downloaded. Inputs whose digests begin alike share a lock, to bound their number."""
        return self.locks / f"input-{sha256[:2]}.lock"

    def owner_lock(self, owner: str) -> Path:
        """Held by a supervisor while it runs."""
        return self.locks / f"owner-{hashlib.sha256(owner.encode()).hexdigest()[:32]}.lock"

    def owner_locks(self) -> list[Path]:
        """The lock files of all supervisors, running or dead."""
        return list(self.locks.glob("owner-*.lock"))

    def slot_name_lock(self, name: str) -> Path:
        """Held by the worker that uses this slot name, while it runs."""
        return self.locks / f"seat-{name}.lock"

    def slot_lock(self, slot: str) -> Path:
        """Held by the process that uses the slot's device."""
        return self.locks / f"slot-{slot}.lock"
