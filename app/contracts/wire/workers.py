"""What a worker says of itself, for people who watch the service."""

from pydantic import AwareDatetime, Field

from app.contracts.base import Answer


class Disk(Answer):
    """Space of a disk."""

    total_bytes: int = Field(description="Its size.")
    free_bytes: int = Field(description="What is free of it.")


class Device(Answer):
    """What a worker trains on."""

    name: str = Field(description="`cpu`, or the UUID of a GPU or of a part of one.")
    description: str = Field(description="Model of the processor or GPU.")
    memory_bytes: int | None = Field(description="Memory of the GPU, or of the machine; null where it is unknown.")


class WorkerFacts(Answer):
    """A worker process."""

    host: str = Field(description="Name of its machine.")
    version: str = Field(description="Version of Stillhouse.")
    python: str = Field(description="Version of Python.")
    lanes: tuple[str, ...] = Field(description="What it does: `train`, `inspect`, `predict`.")
    slots: dict[str, int] = Field(description="How many jobs of each lane it can run at once.")
    devices: tuple[Device, ...] = Field(description="What its training slots compute on.")
    disk: Disk = Field(description="The disk of its data directory.")
    packages: dict[str, str] = Field(description="Versions of packages that training depends on, by name.")
    started_at: AwareDatetime = Field(description="When it started (RFC 3339, UTC).")
