"""Runs `stillhouse` as its users do: as a process, with a home of its own, against a real service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.demo.service import Service

COMMAND = Path(sys.executable).with_name("stillhouse")
MANIFEST: dict[str, Any] = {
    "name": "clouds",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {"kind": {"kind": "class", "classes": 3}},
}
SHORT: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which is one JSON document and nothing else."""
        return json.loads(self.out)


class Shell:
    """Runs commands in a folder of its own, with nothing of the tester's environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        self.environment = {**clean, "XDG_CONFIG_HOME": str(folder / "config")}

    def __call__(self, *words: str, code: int = 0, given: str | None = None) -> Ended:
        """Run a command, which must end with this code."""
        done = subprocess.run(
            [COMMAND, *words],
            env=self.environment,
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, document: Any) -> str:
        """A JSON file in its folder."""
        (self.folder / name).write_text(json.dumps(document))
        return name


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture
def stranger(tmp_path: Path) -> Shell:
    """A shell that is not signed in."""
    return Shell(tmp_path)


@pytest.fixture
def shell(stranger: Shell, service: Service) -> Shell:
    """A shell that is signed in by its environment."""
    stranger.environment |= {"STILLHOUSE_URL": service.url, "STILLHOUSE_KEY": service.key}
    return stranger


@pytest.fixture(scope="session")
def dataset(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a dataset that `stillhouse upload` sent."""
    shell = Shell(tmp_path_factory.mktemp("upload"))
    shell.environment |= {"STILLHOUSE_URL": service.url, "STILLHOUSE_KEY": service.key}
    kind = np.arange(240) % 3
    points = (np.eye(3)[kind] + 0.1 * np.random.default_rng(0).normal(size=(240, 3))).astype(np.float32)
    np.savez(shell.folder / "clouds.npz", x=points, kind=kind)
    done = shell("upload", "dataset", "clouds.npz", "--manifest", shell.write("manifest.json", MANIFEST), "--json")
    assert done.json["state"] == "ready"
    identity: str = done.json["id"]
    return identity


@pytest.fixture(scope="session")
def spec(dataset: str) -> dict[str, Any]:
    """A short training."""
    model = {"family": "mlp", "hidden": [4]}
    return {"kind": "train", "name": "teacher", "dataset": dataset, "model": model, "training": SHORT}
