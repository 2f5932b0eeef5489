"""Write transactions as steps: statements that are compiled once, sent together, without a session."""

from app.db.transactions.grouping import Grouping
from app.db.transactions.postgresql import PostgresqlTransactions
from app.db.transactions.sqlite import SqliteTransactions
from app.db.transactions.steps import Last, Steps, in_session

__all__ = ["Grouping", "Last", "PostgresqlTransactions", "SqliteTransactions", "Steps", "in_session"]
