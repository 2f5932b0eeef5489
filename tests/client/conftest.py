"""A service as a real process, and data that a linear model learns at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse import Client, Dataset, Job

from tests.demo.service import Service

CLASSES = 3


def clouds(rows: int = 240, seed: int = 0) -> dict[str, Any]:
    """Three clouds of points and the number of each point's cloud."""
    random = np.random.default_rng(seed)
    kind = np.arange(rows) % CLASSES
    return {"x": (np.eye(CLASSES)[kind] + 0.1 * random.normal(size=(rows, CLASSES))).astype(np.float32), "kind": kind}


SHORT: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02}
"""Training that takes a moment."""
LONG: dict[str, Any] = {"epochs": 100_000, "batch_size": 16}
"""Training that lasts until it is cancelled."""
NETWORK = {"family": "mlp", "hidden": [4]}


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No URL and key from the environment or the home of who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STILLHOUSE_URL", raising=False)
    monkeypatch.delenv("STILLHOUSE_KEY", raising=False)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, service.key) as made:
        yield made


@pytest.fixture(scope="session")
def lasting(service: Service) -> Iterator[Client]:
    """A client for what several tests share."""
    with Client(service.url, service.key) as made:
        yield made


@pytest.fixture(scope="session")
def dataset(lasting: Client) -> Dataset:
    """A ready dataset of `clouds`."""
    return lasting.datasets.upload(clouds(), name="clouds")


@pytest.fixture(scope="session")
def trained(lasting: Client, dataset: Dataset) -> Job:
    """A teacher's job, which has succeeded."""
    return lasting.jobs.train(dataset, NETWORK, name="teacher", labels={"team": "a"}, training=SHORT).wait()
