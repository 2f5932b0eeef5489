"""The signals of recent transactions, on SQLite; PostgreSQL has NOTIFY."""

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Serial


class SignalRow(Base):
    """The names that one transaction signalled, separated by spaces. Written and deleted by `app.db.sqlite` alone."""

    __tablename__ = "signals"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    names: Mapped[str] = mapped_column(Text)
