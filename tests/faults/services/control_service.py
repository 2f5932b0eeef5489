"""`stillhouse serve` on either database, with settings of one's own, and what is needed to watch it closely."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.db.migrate import upgrade
from tests.faults.services.serve import FaultyService, eventually
from tests.integration.worker.harness import children_of, lives

TRACEBACK = "Traceback (most recent call last)"
ENDED = ("succeeded", "failed", "cancelled")


class ControlledService(FaultyService):
    """A service on `database_url` (SQLite below `data` when empty); `settings` have names without STILLHOUSE_."""

    def __init__(self, data: Path, database_url: str = "", **settings: object) -> None:
        super().__init__(data)
        self.temporary = data.with_name(f"{data.name}-temporary")
        self.temporary.mkdir()
        own = {"lease_seconds": 6, "checkpoint_seconds": 0.2, "threads": 1, "requests_per_second": 1e6}
        self._settings = own | settings
        if database_url:
            self._settings["database_url"] = database_url
            upgrade(database_url)

    def start(self) -> None:
        """Start it, on the port that it always has."""
        command = [str(Path(sys.executable).with_name("stillhouse")), "serve"]
        command += ["--port", str(self.port), "--data", str(self.data)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        variables = {f"STILLHOUSE_{name.upper()}": str(value) for name, value in self._settings.items()}
        with (self.data / "service.log").open("ab") as log:
            environment = clean | variables | {"TMPDIR": str(self.temporary)}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        eventually(self._ready)

    @property
    def log(self) -> str:
        """What its processes have written."""
        return (self.data / "service.log").read_text(errors="replace")

    def processes(self) -> list[int]:
        """The API and everything below it."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:
            found += [child for child in children_of(pid) if lives(child)]
        return found

    def send(self, number: signal.Signals, pids: Iterable[int] | None = None) -> None:
        """A signal to the API's process, or to all of these."""
        assert self._process is not None
        for pid in [self._process.pid] if pids is None else pids:
            os.kill(pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> float:
        """Seconds until every process has ended after the signal, which a `group` gets as a whole."""
        assert self._process is not None
        processes, began = self.processes(), time.monotonic()
        self.send(number, processes if group else None)
        self.ended()
        eventually(lambda: not any(lives(pid) for pid in processes))
        return time.monotonic() - began

    @property
    def running(self) -> bool:
        """Whether the API's process is there."""
        return self._process is not None and self._process.poll() is None

    def ended(self) -> None:
        """Waits for the clean end of the API's process."""
        assert self._process is not None
        assert self._process.wait(timeout=60) == 0, self.log[-2000:]

    def training(self, dataset: str, steps: int, **changes: Any) -> dict[str, Any]:
        """The spec of a small teacher."""
        training = {"steps": steps, "threads": 1, **changes}
        return {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [32]}, "training": training}

    def state(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            job = self.get(f"/v1/jobs/{job_id}")
            return job if job["state"] in states else None

        return eventually(look)

    def stepping(self, job_id: str, step: int = 1) -> dict[str, Any]:
        """The job once its child has reached this step."""

        def look() -> dict[str, Any] | None:
            job = self.get(f"/v1/jobs/{job_id}")
            assert job["state"] not in ENDED, job["error"]
            return job if job["progress"]["step"] >= step else None

        return eventually(look)

    def act(self, job_id: str, action: str) -> tuple[dict[str, Any], float]:
        """POST cancel, pause or resume: the job as it is then, and the seconds until the response."""
        began = time.monotonic()
        answer = self.http.post(f"/v1/jobs/{job_id}/{action}")
        assert answer.status_code == 200, answer.text
        return answer.json(), time.monotonic() - began
