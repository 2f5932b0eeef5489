"""The compose file's services in their order, on PostgreSQL, from a wheel: API and worker as separate processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.architecture.compose import SECRETS
from tests.demo.digits import write_article
from tests.e2e.conftest import ARTICLE_DATASET, Client
from tests.e2e.deployment import Deployment, install


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def deployment(site: Path, tmp_path: Path, postgresql_url: str) -> Iterator[Deployment]:
    with Deployment(site, tmp_path / "data", postgresql_url) as ready:
        yield ready


def test_the_wheel_is_what_runs_and_not_the_checkout(deployment: Deployment, site: Path, tmp_path: Path) -> None:
    code = "import app, migrations, workers; print(app.__file__, migrations.__file__, workers.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=deployment.environment("worker"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.count(str(site)) == 3


def test_the_api_does_not_start_on_a_database_that_was_not_migrated(deployment: Deployment) -> None:
    assert deployment.finish("api") == 1
    assert "run `stillhouse migrate`" in deployment.log("api")


def test_migrate_api_and_worker_run_a_job_become_healthy_and_end_in_their_time(
    deployment: Deployment, tmp_path: Path
) -> None:
    assert deployment.finish("migrate") == 0, deployment.log("migrate")
    deployment.start("api")
    deployment.start("worker")
    deployment.await_health("api")
    deployment.await_health("worker")

    headers = {"Authorization": f"Bearer {SECRETS['STILLHOUSE_API_KEY']}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{deployment.port}", headers=headers, timeout=90) as http:
        client = Client(http)
        write_article(tmp_path / "article.npz")
        dataset = client.upload("datasets", ARTICLE_DATASET, tmp_path / "article.npz")
        spec = {"kind": "train", "dataset": dataset["id"], "target": "y1", "model": {"family": "mlp", "hidden": [20]}}
        job = client.finish({**spec, "training": {"epochs": 1, "threads": 1}})
        weights = client.download(f"/v1/jobs/{job['id']}/student/weights", tmp_path / "student.safetensors")
    assert weights.stat().st_size > 4 * (10 * 20 + 20 + 20 * 10 + 10)

    assert deployment.stop("worker") == 0, deployment.log("worker")
    assert deployment.stop("api") == 0, deployment.log("api")
    assert not deployment.is_healthy("api")
    for name in ("migrate", "api", "worker"):
        assert not any(secret in deployment.log(name) for secret in SECRETS.values())
