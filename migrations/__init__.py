"""Alembic migrations, the same on SQLite and PostgreSQL. `app.db.migrate` runs them."""
