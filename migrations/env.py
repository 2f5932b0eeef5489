"""Alembic's environment: runs on the connection that `app.db.migrate` passes."""

from alembic import context

import app.db.rows  # noqa: F401  importing registers the tables
from app.db.base import Base

connection = context.config.attributes["connection"]
# SQLite cannot alter most of a table in place: batch mode copies it instead.
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
