"""A database, a store and supervisors over them, for tests of the worker."""

import asyncio
import hashlib
import json
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import make_url, select

from app.cli.worker_process import python_command, worker_environment
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.manifests import ClassTarget, DatasetManifest
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import ExportJob, InspectJob, TrainJob
from app.contracts.states import TERMINAL, JobState
from app.db.engine import Database, open_database
from app.db.ids import new_id
from app.db.rows import DatasetRow, EventRow, FileRow, JobRow, MetricRow, ModelRow
from app.queue.blobs import Blobs, mark_stored
from app.queue.ledger import Ledger
from app.queue.records import Lane, NewJob, WorkerLane
from app.settings import Settings
from app.storage.opening import open_store
from tests.integration.worker.entries import DATASET_FACTS, STUDENT, STUDENT_FACTS
from workers.runtime.paths import Paths
from workers.runtime.supervisor.slots import taken_slots
from workers.runtime.supervisor.supervisor import Supervisor

T = TypeVar("T")
ENTRY = "tests.integration.worker.entries:behave"
ROOT = Path(__file__).parents[3]
PATIENCE = 40.0
"""Longest wait for anything; what is slower is broken, also on a busy machine."""


class Process:
    """A worker process; killed at the end of the test if it still runs."""

    def __init__(
        self, settings: Settings, slots: int, lanes: Sequence[WorkerLane], entry: str, module: str = "workers"
    ) -> None:
        command = python_command(module, "--slots", str(slots), "--lanes", ",".join(lanes), "--entry", entry)
        environment = worker_environment(settings) | {"PYTHONPATH": str(ROOT)}
        self._database_url = settings.database
        self._log = settings.data_dir / f"worker-{uuid.uuid4().hex}.log"
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        """A signal to the supervisor alone."""
        self.popen.send_signal(number)

    async def stop(self) -> None:
        """Send SIGSTOP to the supervisor alone, at a time when it does not hold the lock of SQLite for writing."""
        self.send(signal.SIGSTOP)
        while not await asyncio.to_thread(_is_writable, self._database_url):
            self.send(signal.SIGCONT)
            await asyncio.sleep(0.01)
            self.send(signal.SIGSTOP)

    def fork_server(self) -> int:
        """The process that starts its children."""
        (found,) = self.fork_servers()
        return found

    def fork_servers(self) -> list[int]:
        """The same, none if it has just died."""
        return [pid for pid in children_of(self.popen.pid) if "fork_server" in command_of(pid)]

    def running_children(self) -> list[int]:
        """The children that it has now."""
        return [pid for server in self.fork_servers() for pid in children_of(server) if lives(pid)]

    async def says(self, words: str) -> None:
        """Waits until its log has these words."""

        async def look() -> bool:
            return words in self._log.read_text()

        await eventually(look)

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.to_thread(self.popen.wait, PATIENCE)

    def end(self) -> None:
        """SIGKILL, also if it is stopped."""
        self.popen.kill()
        self.popen.wait()


def _is_writable(database_url: str) -> bool:
    """Whether no process holds the lock of an SQLite database, of which there is one; True for other databases."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        return True
    with closing(sqlite3.connect(str(url.database), timeout=1.0, isolation_level=None)) as connection:
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            return True
        return False


def children_of(pid: int) -> list[int]:
    """The processes that a process's main thread has started and not yet reaped."""
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def command_of(pid: int) -> str:
    """A process's command line, empty if it is gone or dead."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def environment_of(pid: int) -> str:
    """The environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"\n").decode()


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def size_and_digest(file: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file."""
    content = file.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def lives(pid: int) -> bool:
    """Whether a process is there and not dead; a zombie counts as dead."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer that is not None or False; fails after PATIENCE. Looks less often the longer it waits."""
    pauses = chain((0.03,) * 5, repeat(0.1))
    try:
        async with asyncio.timeout(PATIENCE):
            while not (found := await look()):  # noqa: ASYNC110 (other processes change it)
                await asyncio.sleep(next(pauses))
            return found
    except TimeoutError:
        raise AssertionError("waited in vain") from None


async def gone(pid: int) -> None:
    """Waits until a process is dead."""

    async def look() -> bool:
        return not lives(pid)

    await eventually(look)


class WorkerHarness:
    """A database, a store, and supervisors over them."""

    def __init__(self, url: str, data_dir: Path, lease_seconds: float) -> None:
        self.settings = Settings(
            data_dir=data_dir, database_url=url, lease_seconds=lease_seconds, threads=1, drain_seconds=10.0
        ).prepared()
        self.paths = Paths(data_dir)
        self.database: Database = open_database(url)
        self.ledger = Ledger(self.database, lease_seconds)
        self.store = open_store(None, data_dir)
        self.blobs = Blobs(self.database, self.store)
        self._processes: list[Process] = []
        self._dataset: str | None = None

    async def close(self) -> None:
        for process in self._processes:
            process.end()
        await self.database.close()

    def lease(self, seconds: float) -> None:
        """What supervisors take from now on."""
        self.settings = self.settings.model_copy(update={"lease_seconds": seconds})

    # Supervisors.

    @asynccontextmanager
    async def supervising(
        self, slots: int = 1, lanes: Sequence[Lane] = ("train",), **options: Any
    ) -> AsyncIterator[Supervisor]:
        """A supervisor in this process (its children are real ones); drained at the end."""
        with taken_slots(self.paths, slots, set(lanes)) as made:
            supervisor = Supervisor(self.settings, self.database, self.store, made, ENTRY, **options)
            running = asyncio.create_task(supervisor.run())
            try:
                yield supervisor
            finally:
                supervisor.drain(now=True)
                await running

    def process(
        self, slots: int = 1, lanes: Sequence[WorkerLane] = ("train",), entry: str = ENTRY, module: str = "workers"
    ) -> Process:
        """A worker in a process of its own."""
        process = Process(self.settings, slots, lanes, entry, module)
        self._processes.append(process)
        return process

    # Jobs.

    async def dataset(self, name: str = "digits", state: str = "ready") -> str:
        """A dataset, its bytes in the store."""
        dataset_id, content = new_id("ds"), f"rows of {name}".encode()
        source = self.settings.staging_dir / dataset_id
        source.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        await self.blobs.publish(source, sha256)
        manifest = DatasetManifest(
            name=name,
            format="npz",
            inputs={"x": ArrayInput(kind="array")},
            targets={"digit": ClassTarget(kind="class", classes=2)},
        )
        async with self.database.write() as session:
            await mark_stored(session, [sha256])
            session.add(
                DatasetRow(
                    id=dataset_id,
                    name=name,
                    state=state,
                    format="npz",
                    manifest=manifest.model_dump(mode="json"),
                    facts=DATASET_FACTS.model_dump(mode="json") if state == "ready" else None,
                    files=[FileRow(name="d.npz", role="data", bytes=len(content), sha256=sha256)],
                )
            )
        return dataset_id

    async def submit(self, behave: str = "work", **labels: object) -> str:
        """A train job whose child behaves so."""
        if self._dataset is None:
            self._dataset = await self.dataset()
        texts = {name: str(value) for name, value in labels.items()}
        spec = TrainJob(
            kind="train", dataset=self._dataset, model=Mlp(family="mlp"), labels={"behave": behave, **texts}
        )
        async with self.database.write() as session:
            return (await self.ledger.submit(session, NewJob(spec=spec, threads=1))).id

    async def inspection(self, name: str) -> tuple[str, str]:
        """An upload and the job that inspects it."""
        dataset_id = await self.dataset(name, state="verifying")
        async with self.database.write() as session:
            job = await self.ledger.submit(session, NewJob(spec=InspectJob(dataset=dataset_id)))
        return dataset_id, job.id

    async def export(self, behave: str) -> str:
        """An export of a ready model whose child behaves so."""
        model, content = new_id("mdl"), b"weights"
        source = self.settings.staging_dir / model
        source.write_bytes(content)
        size, sha256 = size_and_digest(source)
        await self.blobs.publish(source, sha256)
        async with self.database.write() as session:
            await mark_stored(session, [sha256])
            session.add(
                ModelRow(
                    id=model,
                    name="model",
                    state="ready",
                    format="safetensors",
                    manifest=STUDENT.model_dump(mode="json"),
                    facts=STUDENT_FACTS.model_dump(mode="json"),
                    source="upload",
                    files=[FileRow(name="m.safetensors", role="weights", bytes=size, sha256=sha256)],
                )
            )
        async with self.database.write() as session:
            spec = ExportJob(model=model, format="onnx", labels={"behave": behave})
            return (await self.ledger.submit(session, NewJob(spec=spec))).id

    async def act(self, verb: str, job_id: str) -> None:
        """cancel, pause or resume, as the API does it."""
        async with self.database.write() as session:
            assert await getattr(self.ledger, verb)(session, job_id) is not None

    # Looking.

    async def row(self, job_id: str) -> JobRow:
        async with self.database.read() as session:
            return await session.get_one(JobRow, job_id)

    async def dataset_row(self, dataset_id: str) -> DatasetRow:
        async with self.database.read() as session:
            return await session.get_one(DatasetRow, dataset_id)

    async def events(self, job_id: str) -> list[EventRow]:
        async with self.database.read() as session:
            query = select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.seq)
            return list(await session.scalars(query))

    async def metric_steps(self, job_id: str, series: str) -> list[int]:
        """The steps at which a series has a point."""
        query = select(MetricRow.step).where(MetricRow.job_id == job_id, MetricRow.series == series)
        async with self.database.read() as session:
            return list(await session.scalars(query.order_by(MetricRow.step)))

    async def warnings(self, job_id: str, code: str) -> list[Any]:
        """The messages of the child's warnings with this code, as JSON."""
        events = await self.events(job_id)
        return [json.loads(e.data["message"]) for e in events if e.type == "warning" and e.data["code"] == code]

    async def states(self, job_id: str) -> list[str]:
        """Every state that the job went through."""
        return [event.data["state"] for event in await self.events(job_id) if event.type == "state"]

    async def until(self, job_id: str, wanted: Callable[[JobRow], bool]) -> JobRow:
        """The job as soon as it is as wanted."""

        async def look() -> JobRow | None:
            row = await self.row(job_id)
            return row if wanted(row) else None

        return await eventually(look)

    async def reaches(self, job_id: str, *states: JobState) -> JobRow:
        """The job once it is in one of these states."""
        return await self.until(job_id, lambda row: row.state in states)

    async def ends(self, job_id: str) -> JobRow:
        """The job once it has ended; that it has ended once is checked as well."""
        row = await self.reaches(job_id, *TERMINAL)
        ends = [state for state in await self.states(job_id) if state in TERMINAL]
        assert len(ends) == 1, ends
        return row

    async def stepping(self, job_id: str, step: int = 1) -> int:
        """The pid of the job's child, once it has done so many steps."""
        await self.until(job_id, lambda row: row.progress.get("step", 0) >= step)
        pid: int = (await self.warnings(job_id, "began"))[-1]["pid"]
        return pid

    async def began(self, job_id: str, attempt: int = 1) -> int:
        """The pid of the child of this attempt, once it has reported that it began."""

        async def look() -> int | None:
            began = await self.warnings(job_id, "began")
            return next((each["pid"] for each in began if each["attempt"] == attempt), None)

        return await eventually(look)

    async def student(self, job_id: str) -> bytes:
        """The weights that the job published."""
        row = await self.row(job_id)
        assert row.student_id is not None
        async with self.database.read() as session:
            file = await session.scalar(select(FileRow).where(FileRow.model_id == row.student_id))
        assert file is not None
        path = self.store.local_path(file.sha256)
        assert path is not None
        return path.read_bytes()

    async def swept(self, job_id: str) -> None:
        """Waits until the job's folder is gone."""

        async def look() -> bool:
            return not self.paths.job(job_id).exists()

        await eventually(look)
