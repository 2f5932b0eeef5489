"""`stillhouse serve`, with access to each of its processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import numpy as np

from tests.demo.service import free_port
from tests.integration.worker.harness import children_of, command_of, lives

T = TypeVar("T")
PATIENCE = 90.0
LONGEST_PAUSE = 0.15
Part = Literal["child", "fork server", "supervisor", "api"]


def eventually(look: Callable[[], T | None]) -> T:
    """The first answer that is not None or False; looks less often the longer it waits, as each look costs the service
    more than it does anyway.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < PATIENCE:
        if found := look():
            return found
        time.sleep(min(0.02 + waited / 10, LONGEST_PAUSE))
    raise AssertionError("waited in vain")


class FaultyService:
    """A service on SQLite with short leases and many checkpoints."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        data.mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def __enter__(self) -> Self:
        self.start()
        self.http.headers["Authorization"] = f"Bearer {(self.data / 'admin.key').read_text().strip()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=40)
        self.http.close()

    def start(self) -> None:
        """Start the service on its port."""
        command = [str(Path(sys.executable).with_name("stillhouse")), "serve"]
        command += ["--port", str(self.port), "--data", str(self.data), "--workers", "1"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        short = {"STILLHOUSE_LEASE_SECONDS": "6", "STILLHOUSE_CHECKPOINT_SECONDS": "0.2"}
        with (self.data / "service.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=clean | short)
        eventually(self._ready)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.data / "service.log").read_text()[-3000:]
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def pid(self, part: Part) -> int | None:
        """The process that is this part now."""
        assert self._process is not None
        if part == "api":
            return self._process.pid
        workers = [pid for pid in children_of(self._process.pid) if "-m workers --slots" in command_of(pid)]
        servers = [pid for worker in workers for pid in children_of(worker) if "fork_server" in command_of(pid)]
        children = [pid for server in servers for pid in children_of(server) if lives(pid)]
        found = {"supervisor": workers, "fork server": servers, "child": children}[part]
        return found[0] if found else None

    def kill(self, part: Part) -> None:
        """SIGKILL one part; a killed API is started again, as a machine's own supervision would."""
        os.kill(eventually(lambda: self.pid(part)), signal.SIGKILL)
        if part == "api":
            assert self._process is not None
            self._process.wait()
            self.start()

    def get(self, path: str) -> dict[str, Any]:
        """GET as JSON; while the API is down it is asked again."""

        def ask() -> dict[str, Any] | None:
            try:
                answer = self.http.get(path)
            except httpx.TransportError:
                return None
            found: dict[str, Any] = answer.raise_for_status().json()
            return found

        return eventually(ask)

    def dataset(self, folder: Path, rows: int = 600) -> str:
        """A ready dataset of `rows` random rows."""
        random = np.random.default_rng(0)
        x = random.normal(size=(rows, 16)).astype(np.float32)
        file = folder / "rows.npz"
        np.savez(file, x=x, y=(x[:, 0] > 0).astype(np.int64))
        manifest = {
            "name": "rows",
            "format": "npz",
            "inputs": {"x": {"kind": "array"}},
            "targets": {"y": {"kind": "class", "classes": 2}},
        }
        with file.open("rb") as body:
            made = self.http.post(
                "/v1/datasets", files={"manifest": (None, json.dumps(manifest).encode()), "file": body}
            )
        assert made.status_code == 201, made.text
        dataset = self.get(f"/v1/datasets/{made.json()['id']}?wait=60")
        assert dataset["state"] == "ready", dataset["rejection"]
        return str(dataset["id"])

    def submit(self, spec: dict[str, Any]) -> str:
        """POST a job; its id."""
        answer = self.http.post("/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def succeed(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended; it must have succeeded."""

        def ended() -> dict[str, Any] | None:
            job = self.get(f"/v1/jobs/{job_id}?wait=20")
            return job if job["state"] in ("succeeded", "failed", "cancelled") else None

        job = eventually(ended)
        assert job["state"] == "succeeded", job["error"]
        return job

    def pages(self, path: str) -> list[dict[str, Any]]:
        """Everything of a list, page by page."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.get(f"{path}?limit=200{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={page['next']}"

    def events(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        """The data of all events of this type."""
        found = self.pages(f"/v1/jobs/{job_id}/events")
        assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
        return [event["data"] for event in found if event["type"] == kind]

    def await_checkpoint(self, job_id: str) -> None:
        """Waits until the job has another than now; one that has succeeded has none."""
        before = self.get(f"/v1/jobs/{job_id}")["checkpoint"]
        eventually(lambda: self.get(f"/v1/jobs/{job_id}")["checkpoint"] not in (None, before))
