"""Predictions on their way between API and workers, written only by `app.queue.predictions`."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonText, UtcTime
from app.db.clock import utcnow
from app.db.rows.access import DEFAULT_PROJECT


class PredictionRow(Base):
    """A request that an API process waits for. It is deleted once it is answered, or soon after its deadline."""

    __tablename__ = "predictions"
    __table_args__ = (Index(None, "asker"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    asker: Mapped[str] = mapped_column(String(64))  # the API process
    question: Mapped[dict[str, Any]] = mapped_column(JsonText)  # contracts.wire.predictions.Question
    body: Mapped[bytes] = mapped_column(LargeBinary)  # the rows as they were sent; empty with `body_of`
    body_of: Mapped[str | None] = mapped_column(String(64), default=None)  # the request that has the rows of this one
    deadline: Mapped[float] = mapped_column(Double)  # on db.clock.lease_clock
    deadline_boot: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    claimed_by: Mapped[str | None] = mapped_column(String(128), default=None)  # lane_owners.owner
    reply: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # contracts.wire.predictions.Reply
    answer: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)


class LaneOwnerRow(Base):
    """A worker that has the lane `predict`, while it renews its lease. What it has claimed is its own as long."""

    __tablename__ = "lane_owners"

    owner: Mapped[str] = mapped_column(String(128), primary_key=True)
    lease_expires: Mapped[float] = mapped_column(Double)  # on db.clock.lease_clock
    lease_boot: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
