"""A whole API over a real database and disk, and a stand-in worker that acts through the real ledger.

The stand-in trains nothing: it claims, and says what a worker would say.
"""

import hashlib
import io
import json
import struct
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx
from fastapi import FastAPI

from app.contracts.problems import JobError, Rejection
from app.contracts.resources.facts import DatasetFacts, InputFacts, Layer, ModelFacts, OutputFacts, TargetFacts
from app.contracts.resources.manifests import ClassOutput, InputTransform, ModelManifest
from app.contracts.resources.splits import SplitName
from app.contracts.specs.architectures import Mlp
from app.contracts.wire.events import MetricPoint, MetricsEvent, PhaseEvent, ProgressEvent
from app.contracts.wire.orders import PREDICTIONS_ROLES, InspectionOutcome, OutputRole
from app.http.services import Services
from app.queue.ledger import Event
from app.queue.records import Claim, Lane, Publication, PublishedFile

ARCHITECTURE: dict[str, Any] = {"family": "mlp", "input_shape": [4], "hidden": [3], "outputs": {"digit": 2}}
MODEL: dict[str, Any] = {
    "name": "teacher",
    "format": "safetensors",
    "architecture": ARCHITECTURE,
    "outputs": {"digit": {"kind": "class", "output": "logits"}},
}
DATASET: dict[str, Any] = {
    "name": "digits",
    "format": "npz",
    "inputs": {"x": {"kind": "array", "shape": [4]}},
    "targets": {"digit": {"kind": "class", "classes": 2}},
}
MODEL_FACTS = ModelFacts(
    architecture=Mlp(family="mlp", input_shape=(4,), hidden=(3,), outputs={"digit": 2}),
    input_shape=(4,),
    inputs={"x": InputTransform()},
    outputs={"digit": OutputFacts(spec=ClassOutput(kind="class"), size=2)},
    parameters=23,
    layers=(Layer(name="layers.0", kind="linear", shape=(3,), parameters=15),),
)
DATASET_FACTS = DatasetFacts(
    rows=100,
    splits={"train": 70, "validation": 15, "test": 15},
    inputs={"x": InputFacts(shape=(4,))},
    targets={
        "digit": TargetFacts(kind="class", size=2, labelled={"train": 70, "validation": 15, "test": 15}),
    },
)
REPORT: dict[str, Any] = {"kind": "train", "student": {"name": "student", "tasks": {"digit": {"accuracy": 0.5}}}}


def safetensors(payload: bytes = b"\0" * 64) -> bytes:
    """A whole safetensors file with one tensor."""
    header = {"layers.0.weight": {"dtype": "F32", "shape": [len(payload) // 4], "data_offsets": [0, len(payload)]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def npz(*names: str) -> bytes:
    """A zip of npy members, as numpy writes one (the API looks at names alone)."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names or ("x", "digit"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(b"\x93NUMPY" + name.encode() * 50)
    return target.getvalue()


class Unread:
    """A body that must not be read."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        raise AssertionError("the body was read")


@dataclass
class ApiHarness:
    """The API, a client with a key, and what a worker does."""

    app: FastAPI
    services: Services
    http: httpx.AsyncClient
    key: str

    async def post(self, path: str, manifest: Any, file: bytes, **headers: str) -> httpx.Response:
        """An upload."""
        files = {"manifest": (None, json.dumps(manifest).encode()), "file": ("file.bin", file)}
        return await self.http.post(f"/v1/{path}", files=files, headers=headers)

    async def upload(self, path: str, manifest: Any | None = None, file: bytes | None = None) -> dict[str, Any]:
        """An upload that is accepted."""
        manifest = manifest or {"models": MODEL, "datasets": DATASET}[path]
        file = file or {"models": safetensors(), "datasets": npz()}[path]
        answer = await self.post(path, manifest, file)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def claim(self, lane: Lane) -> Claim:
        """The next job of a lane."""
        claim = await self.services.ledger.claim("stand-in", lane, "cpu")
        assert claim is not None
        return claim

    async def inspect(self, outcome: InspectionOutcome) -> None:
        """End the next inspection."""
        assert await self.services.ledger.begin(claim := await self.claim("inspect"), {})
        assert await self.services.ledger.finish_inspection(claim, outcome)

    async def ready_model(self) -> str:
        """The id of a model that is ready."""
        model = await self.upload("models")
        await self.inspect(InspectionOutcome(model=MODEL_FACTS))
        return str(model["id"])

    async def ready_dataset(self) -> str:
        """The id of a dataset that is ready."""
        dataset = await self.upload("datasets")
        await self.inspect(InspectionOutcome(dataset=DATASET_FACTS))
        return str(dataset["id"])

    async def rejected(self, path: str) -> str:
        """The id of an upload that its inspection refused."""
        made = await self.upload(path)
        await self.inspect(
            InspectionOutcome(rejection=Rejection(code="missing_parameters", message="layers.1 is missing"))
        )
        return str(made["id"])

    async def train_spec(self) -> dict[str, Any]:
        """A job on a fresh dataset."""
        return {"kind": "train", "dataset": await self.ready_dataset(), "model": {"family": "mlp", "hidden": [3]}}

    async def submit(self, spec: Any | None = None) -> dict[str, Any]:
        """A job that is accepted."""
        answer = await self.http.post("/v1/jobs", json=spec or await self.train_spec())
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, path: str) -> dict[str, Any]:
        """GET as JSON."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def begin(self) -> Claim:
        """Take the next training job and begin it."""
        claim = await self.claim("train")
        assert await self.services.ledger.begin(claim, json.loads(claim.spec))
        return claim

    async def work(self, claim: Claim, steps: Sequence[int] = (1, 2, 3)) -> None:
        """Some progress and metrics."""
        for step in steps:
            points = (
                MetricPoint(series="train/loss", step=step, epoch=0, value=1.0 / step),
                MetricPoint(series="validation/digit/nll", step=step, epoch=0, value=None),
            )
            events: list[Event] = [
                PhaseEvent(phase="training"),
                ProgressEvent(step=step, steps=3),
                MetricsEvent(points=points),
            ]
            assert await self.services.ledger.record(claim, events)

    async def published(self, role: OutputRole, name: str, content: bytes) -> PublishedFile:
        """Bytes in the store."""
        path = self.services.settings.staging_dir / uuid.uuid4().hex
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        await self.services.blobs.publish(path, sha256)
        return PublishedFile(role=role, name=name, bytes=len(content), sha256=sha256)

    async def succeed(
        self,
        claim: Claim,
        weights: bytes,
        predictions: Mapping[SplitName, bytes] | None = None,
        report: Mapping[str, Any] = REPORT,
    ) -> None:
        """End a training job with files, a student and a report."""
        files = [await self.published("student", "student.safetensors", weights)]
        for split, content in (predictions or {"test": npz("test/row")}).items():
            role = PREDICTIONS_ROLES[split]
            files.append(await self.published(role, f"{role}.npz", content))
        manifest = ModelManifest.model_validate_json(json.dumps(MODEL | {"name": "student"}))
        publication = Publication(
            files=tuple(files), student_manifest=manifest, student=MODEL_FACTS, report=dict(report)
        )
        assert await self.services.ledger.succeed(claim, publication)

    async def fail(self, claim: Claim) -> None:
        """End a training job as failed by the user's fault."""
        error = JobError.model_validate({"code": "teacher_mismatch", "class": "user", "message": "at chance level"})
        assert await self.services.ledger.fail(claim, error)

    def staged(self) -> list[str]:
        """What lies on the staging disk."""
        return sorted(path.name for path in self.services.settings.staging_dir.iterdir())
