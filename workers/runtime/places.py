"""Where things lie below the data directory."""

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """Paths of one data directory. Nothing is made here."""

    root: Path

    @property
    def inputs(self) -> Path:
        """Inputs of jobs, by digest."""
        return self.root / "cache" / "inputs"

    @property
    def cache(self) -> Path:
        """What jobs share: soft targets and controls."""
        return self.root / "cache"

    @property
    def locks(self) -> Path:
        """Locks of slots and owners."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        """What children wrote before they crashed."""
        return self.root / "logs"

    @property
    def sign_of_life(self) -> Path:
        """Written by the workers of this host while they can work; see `health`."""
        return self.locks / f"alive-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:16]}"

    @property
    def jobs(self) -> Path:
        """A folder for each job that is not over."""
        return self.root / "jobs"

    def job(self, job_id: str) -> Path:
        """A job's folder."""
        return self.jobs / job_id

    def checkpoints(self, job_id: str) -> Path:
        """Shared by the attempts of a job."""
        return self.job(job_id) / "checkpoints"

    def attempt(self, job_id: str, attempt: int) -> Path:
        """One attempt's folder."""
        return self.job(job_id) / f"attempt-{attempt}"

    def input_lock(self, sha256: str) -> Path:
        """Held while an input is fetched; shared with a few others, so that there are not too many."""
        return self.locks / f"input-{sha256[:2]}.lock"

    def owner_lock(self, owner: str) -> Path:
        """Held by a supervisor for as long as it lives."""
        return self.locks / f"owner-{hashlib.sha256(owner.encode()).hexdigest()[:32]}.lock"

    def owner_locks(self) -> list[Path]:
        """Those that lie there, of the living and of the dead."""
        return list(self.locks.glob("owner-*.lock"))

    def seat_lock(self, seat: str) -> Path:
        """Held by the worker whose slot it is, for as long as it lives."""
        return self.locks / f"seat-{seat}.lock"

    def slot_lock(self, slot: str) -> Path:
        """Held by whoever uses the slot's device."""
        return self.locks / f"slot-{slot}.lock"
