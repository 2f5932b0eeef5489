"""What workers measured of the networks of libraries."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, JsonText, UtcTime
from app.db.clock import utcnow


class NetworkRow(Base):
    """The trunk of a network, for rows of one shape; of all projects. Written only by `app.queue.networks`.

    It is measured by an inspection, and has its result: a measurement, or a rejection. Neither while it waits.
    """

    __tablename__ = "networks"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)  # contracts LibraryFamily.trunk_digest
    network: Mapped[dict[str, Any]] = mapped_column(JsonText)  # contracts LibraryArchitecture, without outputs
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)  # the newest inspection
    measured: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # contracts MeasuredTrunk
    rejection: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)
    measured_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
