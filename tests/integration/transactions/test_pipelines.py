"""Statements that follow each other on a connection of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Integer, bindparam, cast, func, literal_column, select, text

from app.db.engine import Database, open_database
from app.db.reads import Query

GIVEN = cast(bindparam("number", type_=Integer), Integer)
NUMBER: Query[Any] = Query(tuple, select(GIVEN))
DIVIDED: Query[Any] = Query(tuple, select(literal_column("1").op("/")(GIVEN)))
SLEEPING: Query[Any] = Query(tuple, select(func.pg_sleep(0.5)))
BACKENDS: Query[Any] = Query(tuple, select(text("count(*) FROM pg_stat_activity WHERE datname = current_database()")))


@pytest.fixture
async def database(migrated_postgresql_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_postgresql_url)
    yield database
    await database.close()


async def test_each_of_many_statements_at_once_has_its_own_rows(database: Database) -> None:
    found = await asyncio.gather(*(database.fetch(NUMBER, number=each) for each in range(100)))
    assert [each[0][0] for each in found] == list(range(100))
    ((backends,),) = await database.fetch(BACKENDS)
    assert backends <= 8


async def test_a_statement_that_fails_fails_alone(database: Database) -> None:
    await database.fetch(NUMBER, number=1)
    found = await asyncio.gather(
        database.fetch(NUMBER, number=1),
        database.fetch(DIVIDED, number=0),
        database.fetch(NUMBER, number=2),
        database.fetch(DIVIDED, number=1),
        return_exceptions=True,
    )
    assert isinstance(found[1], psycopg.errors.DivisionByZero)
    assert [found[0], found[2], found[3]] == [[(1,)], [(2,)], [(1,)]]


async def test_a_statement_does_not_follow_one_that_takes_long(database: Database) -> None:
    slow = asyncio.create_task(database.fetch(SLEEPING))
    await asyncio.sleep(0.1)
    await database.fetch(NUMBER, number=1)
    assert not slow.done()
    await slow


async def test_a_cancelled_caller_leaves_the_rows_of_others_in_order(database: Database) -> None:
    await database.fetch(NUMBER, number=0)
    cancelled = asyncio.create_task(database.fetch(NUMBER, number=1))
    other = asyncio.create_task(database.fetch(NUMBER, number=2))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await other == [(2,)]
    assert await database.fetch(NUMBER, number=3) == [(3,)]
