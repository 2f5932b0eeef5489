"""A service of the demo's own (a real process on a free port) and curl to talk to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.demo.console import ProgressLine, say, show_command

TERMINAL = ("succeeded", "failed", "cancelled", "ready", "rejected")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`stillhouse serve` on SQLite and local disk below `data`, stopped at the end of the `with` block.

    `settings`: further environment variables, such as another database.
    """

    def __init__(
        self,
        data: Path,
        workers: int = 1,
        executable: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self._executable = executable or Path(sys.executable).with_name("stillhouse")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._workers = workers
        self._settings = dict(settings or {})
        self._log = data / "service.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        command = [str(self._executable), "serve"]
        command += ["--port", str(self.port), "--data", str(self.data), "--workers", str(self._workers)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=clean | self._settings)
        self._wait_until_ready()
        return self

    def _wait_until_ready(self, seconds: float = 60.0) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the service ended at once:\n{self._log.read_text()[-4000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"the service was not ready within {seconds:.0f} s:\n{self._log.read_text()[-4000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stop it as at the end of the block, and start it again, on the same port and data."""
        self.__exit__(None, None, None)
        self.__enter__()

    @property
    def pid(self) -> int:
        """The process of the API."""
        assert self._process is not None
        return self._process.pid

    @property
    def key(self) -> str:
        """The admin key that the first start left in its data directory."""
        return (self.data / "admin.key").read_text().strip()


class Curl:
    """Runs curl and shows each command, the key replaced by `$KEY`."""

    def __init__(self, service: Service) -> None:
        if shutil.which("curl") is None:
            raise SystemExit("the demo talks to the service by curl, which is not installed here")
        self._service = service

    def __call__(self, *words: str, show: bool = True) -> bytes:
        """Run `curl -sSL --fail-with-body -H 'Authorization: …' words…` and return what it printed."""
        if show:
            show_command(["curl", "-H", "Authorization: Bearer $KEY", *words])
        header = f"Authorization: Bearer {self._service.key}"
        done = subprocess.run(
            ["curl", "-sSL", "--fail-with-body", "-H", header, *words], capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"curl failed ({done.returncode}): {done.stderr.decode()}{done.stdout.decode()}")
        return done.stdout

    def json(self, *words: str, show: bool = True) -> dict[str, Any]:
        """The same, parsed."""
        answer: dict[str, Any] = json.loads(self(*words, show=show))
        return answer

    def upload(self, resource: str, manifest: dict[str, Any], file: Path) -> dict[str, Any]:
        """POST a manifest and a file, then wait until the inspection has ended."""
        url = f"{self._service.url}/v1/{resource}"
        made = self.json("-F", f"manifest={json.dumps(manifest)}", "-F", f"file=@{file}", url)
        found = self.json(f"{url}/{made['id']}?wait=60")
        if found["state"] != "ready":
            raise SystemExit(f"the {resource[:-1]} was refused: {found['rejection']}")
        return found

    def submit(self, spec: dict[str, Any]) -> dict[str, Any]:
        """POST a job."""
        body = json.dumps(spec)
        return self.json("-H", "Content-Type: application/json", "-d", body, f"{self._service.url}/v1/jobs")

    def follow(self, job: dict[str, Any]) -> dict[str, Any]:
        """Wait for a job with a live line; a job that does not succeed ends the demo."""
        url = f"{self._service.url}/v1/jobs/{job['id']}"
        show_command(["curl", "-H", "Authorization: Bearer $KEY", f"{url}?wait=60"])
        line = ProgressLine()
        while job["state"] not in TERMINAL:
            time.sleep(0.3)
            job = self.json(url, show=False)
            line.update(job)
        line.end(job)
        if job["state"] != "succeeded":
            say((self._service.data / "service.log").read_text()[-4000:])
            raise SystemExit(f"the job {job['state']}: {job['error']}")
        return job
