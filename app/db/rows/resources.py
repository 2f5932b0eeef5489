"""Models, datasets, their files, and the blobs that hold the files' bytes."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db.base import Base, JsonText, Serial, UtcTime
from app.db.clock import utcnow
from app.db.rows.access import DEFAULT_PROJECT


class BlobRow(Base):
    """Bytes in the blob store, by digest. `app.queue.blobs` describes the states."""

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "last_used"), Index(None, "state", "key_id"))

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(128))  # where the store keeps it
    bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))  # writing | stored | released | deleting
    # Whose file it was, once it is released: it counts for that key until it is collected.
    key_id: Mapped[str | None] = mapped_column(String(64), default=None)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    last_used: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)


class ModelRow(Base):
    """A model: uploaded (teacher) or made by a job (student)."""

    __tablename__ = "models"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))  # contracts.states.ModelState
    format: Mapped[str] = mapped_column(String(16))
    manifest: Mapped[dict[str, Any]] = mapped_column(JsonText)  # ModelManifest
    facts: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # ModelFacts
    rejection: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)
    source: Mapped[str] = mapped_column(String(16))  # upload | job
    source_job_id: Mapped[str | None] = mapped_column(String(64), default=None, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    state_since: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)

    files: Mapped[list["FileRow"]] = relationship(
        lazy="raise", order_by="FileRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class DatasetRow(Base):
    """A dataset."""

    __tablename__ = "datasets"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))  # contracts.states.ModelState
    format: Mapped[str] = mapped_column(String(16))
    manifest: Mapped[dict[str, Any]] = mapped_column(JsonText)  # DatasetManifest
    facts: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # DatasetFacts
    rejection: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)
    # Looks at its test split by jobs that were deleted since; a deletion must not undo what the jobs have seen.
    deleted_looks: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    state_since: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)

    files: Mapped[list["FileRow"]] = relationship(
        lazy="raise", order_by="FileRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class FileRow(Base):
    """A file of a model or of a dataset. Its blob cannot be collected while this row exists (foreign key)."""

    __tablename__ = "files"
    __table_args__ = (
        CheckConstraint("(model_id IS NULL) <> (dataset_id IS NULL)", name="one_owner"),
        Index(None, "key_id", "bytes"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), default=None, index=True)
    dataset_id: Mapped[str | None] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), default=None, index=True
    )
    # Whose upload or export it is. None for the files of a student: they count as outputs of its job.
    key_id: Mapped[str | None] = mapped_column(String(64), default=None)
    position: Mapped[int] = mapped_column(Integer, default=0)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))  # contracts.resources.facts.FileRole
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
