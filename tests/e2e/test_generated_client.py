"""A client that `openapi-python-client` generates from the running service does a whole job, with no warning."""

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from tests.demo.service import Service

NAME = "stillhouse_client"
ROWS, FILES, CLASSES = 240, 2, 3


class Generated:
    """The generated package: its endpoints by tag and operation id, its models by name."""

    def __init__(self, service: Service, document: dict[str, Any]) -> None:
        self.models: Any = importlib.import_module(f"{NAME}.models")
        self.types: Any = importlib.import_module(f"{NAME}.types")
        client: Any = importlib.import_module(f"{NAME}.client")
        self.client = client.AuthenticatedClient(
            base_url=service.url, token=service.key, timeout=httpx.Timeout(90), raise_on_unexpected_status=True
        )
        self._document = document

    def __call__(self, operation: str, *path: str, schema: str, **given: Any) -> Any:
        """Call an operation, such as `jobs.get_job`; its answer must be as the document says."""
        endpoint: Any = importlib.import_module(f"{NAME}.api.{operation}")
        answer = endpoint.sync_detailed(*path, client=self.client, **given)
        validator = Draft202012Validator({**self._document, "$ref": f"#/components/schemas/{schema}"})
        validator.validate(json.loads(answer.content))
        assert isinstance(answer.parsed, getattr(self.models, schema))
        return answer.parsed


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.url}/openapi.json").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def generated(
    service: Service, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.yml").write_text("post_hooks: []\n")
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--meta", "none"]
    command += ["--path", "openapi.json", "--config", "config.yml", "--output-path", NAME, "--fail-on-warning"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        made = Generated(service, document)
        with made.client:
            yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def rows(seed: int) -> io.BytesIO:
    """Three clouds of points, which a linear model tells apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(ROWS // FILES) % CLASSES
    points = np.eye(CLASSES)[labels] + 0.1 * random.normal(size=(len(labels), CLASSES))
    file = io.BytesIO()
    np.savez(file, x=points.astype(np.float32), kind=labels)
    file.seek(0)
    return file


def upload(client: Generated) -> Any:
    models = client.models
    inputs, targets = models.DatasetManifestInputs(), models.DatasetManifestTargets()
    inputs["x"] = models.ArrayInput(kind="array")
    targets["kind"] = models.ClassTarget(kind="class", classes=CLASSES)
    manifest = models.DatasetManifest(
        name="clouds", format_=models.DatasetManifestFormat.NPZ, inputs=inputs, targets=targets
    )
    files = [client.types.File(payload=rows(seed), file_name=f"clouds-{seed}.npz") for seed in range(FILES)]
    body = models.CreateDatasetBody(manifest=manifest, file=files)
    made = client("datasets.create_dataset", body=body, schema="Dataset")
    return client("datasets.get_dataset", made.id, wait=60, schema="Dataset")


def test_a_generated_client_uploads_trains_waits_and_reads_the_report(generated: Generated) -> None:
    models = generated.models
    dataset = upload(generated)
    assert (dataset.state, dataset.rows) == ("ready", ROWS)
    spec = models.TrainJob(
        kind="train",
        dataset=dataset.id,
        model=models.Mlp(family="mlp", hidden=[8]),
        training=models.TrainingSpec(
            epochs=20, batch_size=16, learning_rate=0.02, schedule=models.CosineSchedule(kind="cosine")
        ),
    )
    dry = generated("jobs.create_job", body=spec, dry_run=True, schema="DryRun")
    assert dry.complete
    job = generated("jobs.create_job", body=spec, schema="Job")
    job = generated("jobs.get_job", job.id, wait=60, schema="Job")
    assert job.state == "succeeded", job.error
    report = generated("jobs.get_job_report", job.id, schema="Report")
    assert report.student.tasks["kind"]["accuracy"] > 0.9
    metrics = generated("jobs.get_job_metrics", job.id, schema="Metrics")
    assert metrics.latest["train/loss"].value < 0.5
    events = generated("jobs.list_job_events", job.id, schema="JobEventPage")
    assert [event.seq for event in events.data] == list(range(1, len(events.data) + 1))
    student = generated("models.get_model", job.student, schema="Model")
    assert student.source.job == job.id
    assert isinstance(job.spec, models.TrainJob)
    again = generated("jobs.create_job", body=job.spec, dry_run=True, schema="DryRun")
    assert again.spec.to_dict() == job.spec.to_dict()


def test_a_generated_client_reads_errors_as_problem_documents(generated: Generated) -> None:
    problem = generated("jobs.get_job", "job_none", schema="ProblemDocument")
    assert (problem.status, problem.code) == (404, "unknown_job")
