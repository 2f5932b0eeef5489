"""Workers, as they describe themselves, written only by `app.queue.workers`."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonText, UtcTime
from app.db.clock import utcnow


class WorkerRow(Base):
    """A worker process, alive while it renews its lease. One that is gone is shown for a time."""

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(String(128), primary_key=True)  # as jobs.lease_owner
    facts: Mapped[dict[str, Any]] = mapped_column(JsonText)  # contracts.wire.workers.WorkerFacts
    lease_expires: Mapped[float] = mapped_column(Double)  # on db.clock.lease_clock
    lease_boot: Mapped[str] = mapped_column(String(64))
    seen_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
