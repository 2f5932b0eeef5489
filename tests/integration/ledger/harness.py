"""Models, datasets and jobs for the tests of the ledger, on a real database."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import select

from app.contracts.problems import JobError
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.manifests import (
    ClassOutput,
    ClassTarget,
    DatasetManifest,
    InputTransform,
    ModelManifest,
)
from app.contracts.specs.architectures import Mlp, StudentMlp
from app.contracts.specs.jobs import DistillJob, InspectJob, TeacherRef, TrainJob
from app.contracts.states import JobState
from app.contracts.wire.events import CheckpointEvent
from app.db.engine import Database
from app.db.ids import new_id
from app.db.rows import BlobRow, DatasetRow, EventRow, FileRow, JobRow, ModelRow
from app.queue.ledger import Ledger
from app.queue.records import Claim, Lane, NewJob, Publication, PublishedFile

ARCHITECTURE = Mlp(family="mlp", input_shape=(4,), hidden=(3,), outputs={"digit": 2})
MODEL = ModelManifest(
    name="a model",
    format="safetensors",
    architecture=ARCHITECTURE,
    outputs={"digit": ClassOutput(kind="class")},
)
FACTS = ModelFacts(
    architecture=ARCHITECTURE,
    input_shape=(4,),
    inputs={"x": InputTransform()},
    outputs={"digit": OutputFacts(spec=ClassOutput(kind="class"), size=2)},
    parameters=23,
)
DATASET = DatasetManifest(
    name="a dataset",
    format="npz",
    inputs={"x": ArrayInput(kind="array")},
    targets={"digit": ClassTarget(kind="class", classes=2)},
)


def crash(message: str = "RuntimeError: the child died") -> JobError:
    return JobError.model_validate({"code": "crashed", "class": "infrastructure", "message": message})


def user_error() -> JobError:
    return JobError.model_validate({"code": "teacher_mismatch", "class": "user", "message": "at chance level"})


def checkpoint(step: int, attempt: int = 1) -> CheckpointEvent:
    return CheckpointEvent(step=step, name=f"step-{step:08d}-a{attempt}", sha256=f"{step:064x}")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class LedgerHarness:
    """Writes models, datasets and jobs, and reads their rows."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self.database = database
        self.ledger = ledger

    async def model(self, state: str = "ready") -> str:
        model_id, sha256 = new_id("mdl"), digest("model")
        await self.blob(sha256)
        async with self.database.write() as session:
            session.add(
                ModelRow(
                    id=model_id,
                    name="a model",
                    state=state,
                    format="safetensors",
                    manifest=MODEL.model_dump(mode="json"),
                    facts=FACTS.model_dump(mode="json") if state == "ready" else None,
                    source="upload",
                    files=[FileRow(name="m.safetensors", role="weights", bytes=5, sha256=sha256)],
                )
            )
        return model_id

    async def dataset(self, state: str = "ready") -> str:
        dataset_id, sha256 = new_id("ds"), digest("dataset")
        await self.blob(sha256)
        async with self.database.write() as session:
            session.add(
                DatasetRow(
                    id=dataset_id,
                    name="a dataset",
                    state=state,
                    format="npz",
                    manifest=DATASET.model_dump(mode="json"),
                    files=[FileRow(name="d.npz", role="data", bytes=7, sha256=sha256)],
                )
            )
        return dataset_id

    async def blob(self, sha256: str) -> None:
        async with self.database.write() as session:
            if await session.get(BlobRow, sha256) is None:
                session.add(BlobRow(sha256=sha256, key=sha256, bytes=5, state="stored"))

    async def job(
        self, dataset: str | None = None, teachers: Sequence[str] = (), key_id: str | None = None, priority: int = 0
    ) -> str:
        """A train job, or with teachers (ids of models or jobs) a distill job."""
        dataset = dataset or await self.dataset()
        spec: TrainJob | DistillJob = TrainJob(kind="train", dataset=dataset, model=Mlp(family="mlp"))
        if teachers:
            refs = tuple(TeacherRef(job=t) if t.startswith("job_") else TeacherRef(model=t) for t in teachers)
            spec = DistillJob(kind="distill", dataset=dataset, teachers=refs, student=StudentMlp(family="mlp"))
        async with self.database.write() as session:
            new = NewJob(spec=spec, threads=1, key_id=key_id, priority=priority)
            return (await self.ledger.submit(session, new)).id

    async def inspection(self, model: str | None = None, dataset: str | None = None, key_id: str | None = None) -> str:
        new = NewJob(spec=InspectJob(model=model, dataset=dataset), key_id=key_id)
        async with self.database.write() as session:
            return (await self.ledger.submit(session, new)).id

    async def claim(self, lane: Lane = "train", owner: str = "owner-1") -> Claim:
        claim = await self.ledger.claim(owner, lane, "cpu")
        assert claim is not None
        return claim

    async def running(self, lane: Lane = "train", owner: str = "owner-1") -> Claim:
        """Claims the oldest job and begins it."""
        claim = await self.claim(lane, owner)
        assert await self.ledger.begin(claim, {"resolved": True})
        return claim

    async def cancel(self, job_id: str) -> JobState:
        async with self.database.write() as session:
            job = await self.ledger.cancel(session, job_id)
            assert job is not None
            return job.state

    async def pause(self, job_id: str) -> JobState:
        async with self.database.write() as session:
            job = await self.ledger.pause(session, job_id)
            assert job is not None
            return job.state

    async def resume(self, job_id: str) -> JobState:
        async with self.database.write() as session:
            job = await self.ledger.resume(session, job_id)
            assert job is not None
            return job.state

    async def row(self, job_id: str) -> JobRow:
        async with self.database.read() as session:
            return await session.get_one(JobRow, job_id)

    async def state(self, job_id: str) -> JobState:
        return (await self.row(job_id)).state

    async def model_row(self, model_id: str) -> ModelRow:
        async with self.database.read() as session:
            return await session.get_one(ModelRow, model_id)

    async def events(self, job_id: str) -> list[EventRow]:
        async with self.database.read() as session:
            query = select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.seq)
            return list(await session.scalars(query))

    async def publication(self, tag: str = "student") -> Publication:
        """A student's weights and a report, their bytes settled in the store's table."""
        student = PublishedFile("student", "student.safetensors", 5, digest(f"{tag}/student"))
        report = PublishedFile("report", "report.json", 5, digest(f"{tag}/report"))
        for file in (student, report):
            await self.blob(file.sha256)
        return Publication((student, report), MODEL, FACTS, {"kind": "train"})
