"""The service as clients see it."""

from typing import Literal

from pydantic import AwareDatetime, Field

from app.contracts.base import Answer
from app.contracts.states import JobState, ModelState
from app.contracts.wire.workers import Disk, WorkerFacts
from app.queue.records import Lane


class LaneCounts(Answer):
    """Jobs of one lane that have not ended."""

    queued: int = Field(description="Jobs that wait for a worker or for their inputs.")
    running: int = Field(description="Jobs that a worker holds, those that are being paused or cancelled included.")
    paused: int = Field(description="Paused jobs.")
    oldest_queued_at: AwareDatetime | None = Field(
        description="When the oldest queued job was accepted (RFC 3339, UTC); null where none waits."
    )


class SlotCounts(Answer):
    """Slots of a worker for one lane."""

    total: int = Field(description="Jobs that it can run at once.")
    busy: int = Field(description="Jobs of the project that it runs now.")


class ShownWorker(WorkerFacts):
    """A worker."""

    id: str = Field(description="Its id, another one for each process.")
    alive: bool = Field(description="Whether it has renewed its lease; one that has not is listed for a day.")
    seen_at: AwareDatetime = Field(description="When it was last heard of (RFC 3339, UTC).")
    busy: dict[str, SlotCounts] = Field(description="Its slots by lane.")


class Queue(Answer):
    """`GET /v1/queue`."""

    object: Literal["queue"] = "queue"
    lanes: dict[Lane, LaneCounts] = Field(
        description="By lane: `train` has jobs that train, preflights and exports; `inspect` the service's own checks "
        "of uploads."
    )
    workers: tuple[ShownWorker, ...] = Field(description="Workers, those that started last first.")


class DatabaseFacts(Answer):
    """The database of the service."""

    kind: Literal["sqlite", "postgresql"] = Field(description="Its kind.")
    version: str = Field(description="Its version.")


class System(Answer):
    """`GET /v1/system`."""

    object: Literal["system"] = "system"
    version: str = Field(description="Version of Stillhouse.")
    python: str = Field(description="Version of Python of the API.")
    started_at: AwareDatetime = Field(description="When this process of the API started (RFC 3339, UTC).")
    database: DatabaseFacts = Field(description="The database that it uses.")
    store: str = Field(description="Where files are kept: `file`, `s3`, `gs` or `az`.")
    disk: Disk = Field(description="The disk to which uploads are received.")
    packages: dict[str, str] = Field(description="Versions of packages of the API, by name.")
    limits: dict[str, float] = Field(description="Settings that limit what a key may do, by name.")


class Named(Answer):
    """A resource by name."""

    name: str | None = Field(description="Its name; null without one.")
    state: JobState | ModelState = Field(description="Its state.")


class Names(Answer):
    """`GET /v1/names`."""

    data: dict[str, Named] = Field(description="By id; ids of nothing, or of another project's, are left out.")
