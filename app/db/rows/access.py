"""Projects, API keys, and the answers stored for repeated requests."""

from datetime import datetime

from sqlalchemy import Double, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, UtcTime
from app.db.clock import utcnow

DEFAULT_PROJECT = "prj_default"
"""The only project so far; the first migration inserts it."""


class ProjectRow(Base):
    """A tenant. Every row of the service belongs to one."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)


class KeyRow(Base):
    """An API key; the secret itself is not stored."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(String(32))  # visible start of the secret, so that people can tell keys apart
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16), default="admin")
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime, default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime, default=None)


class SessionRow(Base):
    """A sign-in by a key in a browser; the secret of its cookie is not stored. Deleted some time after it has ended."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "expires_at"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class IdempotencyRow(Base):
    """The first answer to (owner, key). Written only by `app.queue.idempotency`.

    `status` is null while an upload with this key is in progress; it then has a token and a hold that expires on the
    lease clock.
    """

    __tablename__ = "idempotency"
    __table_args__ = (Index(None, "created_at"), Index(None, "location"))

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)  # id of the API key
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    fingerprint: Mapped[str | None] = mapped_column(String(64), default=None)
    status: Mapped[int | None] = mapped_column(Integer, default=None)
    body: Mapped[str | None] = mapped_column(Text, default=None)
    location: Mapped[str | None] = mapped_column(Text, default=None)
    hold_token: Mapped[str | None] = mapped_column(String(36), default=None)
    hold_expires: Mapped[float | None] = mapped_column(Double, default=None)
    hold_boot: Mapped[str | None] = mapped_column(String(64), default=None)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
