"""Statements that many requests make: compiled once, without a session."""

from app.db.reads.memory import RowMemory
from app.db.reads.postgresql import PostgresqlReads
from app.db.reads.query import Query, padded
from app.db.reads.sqlite import SqliteReads

__all__ = ["PostgresqlReads", "Query", "RowMemory", "SqliteReads", "padded"]
