"""A whole service as a real process, and a client that talks to it by HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.demo.digits import write_article
from tests.demo.service import Service

TERMINAL = ("succeeded", "failed", "cancelled")


class Client:
    """The HTTP contract as a handful of verbs."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def upload(self, resource: str, manifest: dict[str, Any], file: Path) -> dict[str, Any]:
        """POST manifest and file; wait for the end of the inspection."""
        with file.open("rb") as body:
            made = self.http.post(
                f"/v1/{resource}", files={"manifest": (None, json.dumps(manifest)), "file": (file.name, body)}
            )
        assert made.status_code == 201, made.text
        return self.get(f"/v1/{resource}/{made.json()['id']}?wait=60")

    def get(self, path: str) -> dict[str, Any]:
        """GET as JSON; anything but 200 fails the test."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def submit(self, spec: dict[str, Any]) -> dict[str, Any]:
        """POST a job; it must be accepted."""
        answer = self.http.post("/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def finish(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Submit, wait, and insist on success."""
        job = self.submit(spec)
        for _ in range(5):
            job = self.get(f"/v1/jobs/{job['id']}?wait=30")
            if job["state"] in TERMINAL:
                break
        assert job["state"] == "succeeded", job["error"]
        return job

    def report(self, job: dict[str, Any]) -> dict[str, Any]:
        """The report of a finished job."""
        return self.get(f"/v1/jobs/{job['id']}/report")

    def download(self, path: str, target: Path) -> Path:
        """GET a file."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        target.write_bytes(answer.content)
        return target


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all end-to-end tests of a worker process, which does not outlive them: it polls."""
    # Other tests run beside it: more threads than one would wait for cores.
    with Service(tmp_path_factory.mktemp("service") / "data", settings={"STILLHOUSE_THREADS": "1"}) as running:
        yield running


@pytest.fixture(scope="package")
def client(service: Service) -> Iterator[Client]:
    """An authenticated client of that service."""
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
        yield Client(http)


ARTICLE_DATASET: dict[str, Any] = {
    "name": "article",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {"y1": {"kind": "class", "classes": 10}, "y2": {"kind": "class", "classes": 10}},
    "splits": {"fractions": {"train": 1.0}},
}


@pytest.fixture(scope="package")
def article(client: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The article's random rows as a ready dataset: all of them for training, as there."""
    file = tmp_path_factory.mktemp("article") / "article.npz"
    write_article(file)
    dataset = client.upload("datasets", ARTICLE_DATASET, file)
    assert dataset["state"] == "ready", dataset["rejection"]
    return dataset
