"""The compose file's services as processes: their commands, settings and health checks, from an installed wheel.

Only what a container would give is put in its place: the database's address, the data directory, a free port.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.architecture.compose import ROOT, SECRETS, build_context, environment, image, load, seconds
from tests.demo.service import free_port

_BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
_ENTRY = "from app.cli import main; main()"
HEALTHY_SECONDS = 90.0


def install(folder: Path) -> Path:
    """Build the wheel from the files that an image's build gets, and unpack it; where."""
    for path in build_context():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / "source" / path)
    command = [sys.executable, "-c", _BUILD, str(folder)]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")
    return folder / "site"


class Deployment:
    """Ends whatever still runs at the end of the `with` block."""

    def __init__(self, site: Path, data: Path, database_url: str) -> None:
        self._site = site
        self._data = data
        self._database_url = database_url
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.services: dict[str, dict[str, Any]] = load()["services"]
        self.port = free_port()
        data.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def environment(self, name: str) -> dict[str, str]:
        """What the service's container would see, with this machine's places in it."""
        service = self.services[name]
        variables = image(service["build"]["dockerfile"]).environment | environment(service, SECRETS)
        placed = {key: value.replace("/data", str(self._data)) for key, value in variables.items() if key != "PATH"}
        ours = {"PYTHONPATH": str(self._site), "STILLHOUSE_DATABASE_URL": self._database_url, "OMP_NUM_THREADS": "1"}
        if "STILLHOUSE_PORT" in variables:
            ours |= {"STILLHOUSE_PORT": str(self.port), "STILLHOUSE_HOST": "127.0.0.1"}
        clean = {key: value for key, value in os.environ.items() if not key.startswith("STILLHOUSE_")}
        return clean | placed | ours

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service's command."""
        command = [sys.executable, "-c", _ENTRY, *self.services[name]["command"]]
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment(name), cwd=self._data, stdout=log, stderr=subprocess.STDOUT
            )
        self._running[name] = process
        return process

    def finish(self, name: str) -> int:
        """Start a service that ends by itself; its exit status."""
        return self.start(name).wait(timeout=60)

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says now."""
        check = self.services[name]["healthcheck"]

        words = [word.replace(":8000/", f":{self.port}/") for word in check["test"][1:]]
        assert words[0] == "python"
        done = subprocess.run(
            [sys.executable, *words[1:]],
            env=self.environment(name),
            cwd=self._data,
            capture_output=True,
            timeout=seconds(check["timeout"]),
            check=False,
        )
        return done.returncode == 0

    def await_health(self, name: str) -> None:
        """Ask again and again until the service is healthy; each time is a process that imports what it needs."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while not self.is_healthy(name):
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(1.0)

    def stop(self, name: str) -> int:
        """SIGTERM and the service's own time of grace; its exit status."""
        self._running[name].terminate()
        return self._running[name].wait(timeout=seconds(self.services[name]["stop_grace_period"]))

    def log(self, name: str) -> str:
        """What the service wrote."""
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self._data.with_name(f"{name}.log")
