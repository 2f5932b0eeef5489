"""Signals of commits by other processes."""

from app.db.listeners.postgresql import listen_postgresql
from app.db.listeners.sqlite import poll_sqlite

__all__ = ["listen_postgresql", "poll_sqlite"]
