"""The API and workers as separate processes, each of which can be killed and started again."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.cli.worker_process import worker_environment
from app.db.migrate import upgrade
from app.settings import Settings
from tests.faults.services.serve import FaultyService, eventually
from tests.integration.worker.harness import Process

ENTRY = "tests.faults.kills.halting_child:main"
MODULE = "tests.faults.kills.halting_worker"
LEASE_SECONDS = 6.0


class ApiAndWorkers(FaultyService):
    """A service on any database, with real jobs that can halt at chosen points."""

    def __init__(self, data: Path, database_url: str, workers: int) -> None:
        super().__init__(data)
        upgrade(database_url)
        self.settings = Settings(
            data_dir=data,
            database_url=database_url,
            port=self.port,
            lease_seconds=LEASE_SECONDS,
            checkpoint_seconds=0.2,
            threads=1,
        ).prepared()
        self.workers = [self._worker() for _ in range(workers)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.end()
        super().__exit__(kind, error, trace)

    def start(self) -> None:
        """Start the API, on the port that it always has."""
        command = [str(Path(sys.executable).with_name("stillhouse")), "api"]
        with (self.data / "service.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=worker_environment(self.settings))
        eventually(self._ready)

    def _worker(self) -> Process:
        return Process(self.settings, 1, ("train", "inspect"), ENTRY, MODULE)

    def kill_worker(self, place: int) -> None:
        """SIGKILL one supervisor, and start another in its place."""
        self.workers[place].end()
        self.workers[place] = self._worker()

    def kill_one(self, pids: list[int]) -> bool:
        """SIGKILL the first of these that still lives; whether there was one."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def upload(self, resource: str, manifest: str, file: Path) -> dict[str, Any]:
        """POST a manifest and a file; the resource, once it is ready."""
        with file.open("rb") as body:
            made = self.http.post(f"/v1/{resource}", files={"manifest": (None, manifest.encode()), "file": body})
        assert made.status_code == 201, made.text
        found = self.get(f"/v1/{resource}/{made.json()['id']}?wait=60")
        assert found["state"] == "ready", found["rejection"]
        return found

    def digest(self, job_id: str) -> str:
        """SHA-256 of the student of a job that has succeeded."""
        return str(self.report(job_id)["digests"]["student"])

    def report(self, job_id: str) -> dict[str, Any]:
        """A job's report."""
        return self.get(f"/v1/jobs/{job_id}/report")

    def __enter__(self) -> Self:
        super().__enter__()
        return self
