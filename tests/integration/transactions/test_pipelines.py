"""Statements that follow each other on a connection of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import InFailedSqlTransaction, LockNotAvailable
from sqlalchemy import Integer, String, bindparam, cast, func, literal_column, select, text
from sqlalchemy.engine import make_url

from app.db.engine import Database, open_database
from app.db.postgresql import connected
from app.db.reads import Query, prepared
from app.db.reads.pipeline import Call, Pipeline
from app.db.reads.query import Statement
from app.db.rows import ProjectRow

GIVEN = cast(bindparam("number", type_=Integer), Integer)
NUMBER: Query[Any] = Query(tuple, select(GIVEN))
DIVIDED: Query[Any] = Query(tuple, select(literal_column("1").op("/")(GIVEN)))
SLEEPING: Query[Any] = Query(tuple, select(func.pg_sleep(0.5)))
BACKENDS: Query[Any] = Query(tuple, select(text("count(*) FROM pg_stat_activity WHERE datname = current_database()")))
PROJECTS: Query[Any] = Query(tuple, select(func.count()).select_from(ProjectRow))
TEXT: Query[Any] = Query(tuple, select(cast(bindparam("text", type_=String), String)))
PREPARED: Query[Any] = Query(tuple, select(text("count(*) FROM pg_prepared_statements")))


@pytest.fixture
async def database(migrated_postgresql_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_postgresql_url)
    yield database
    await database.close()


@pytest.fixture
async def pipeline(migrated_postgresql_url: str) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(await connected(make_url(migrated_postgresql_url)))
    yield pipeline
    await pipeline.close()


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


async def test_a_statement_that_could_not_be_prepared_is_prepared_by_its_next_use(
    pipeline: Pipeline, migrated_postgresql_url: str
) -> None:
    await pipeline.run([(Statement(text("SET lock_timeout = '50ms'")), {})])
    with psycopg.connect(migrated_postgresql_url.replace("+psycopg", "")) as other:
        other.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        calls: tuple[list[Call], ...] = (
            [(PROJECTS, {})],
            [(NUMBER, {"number": 1}), (PROJECTS, {})],
            [(NUMBER, {"number": 2})],
        )
        first, second, third = await asyncio.gather(*map(pipeline.run, calls), return_exceptions=True)
    assert isinstance(first, LockNotAvailable)
    assert isinstance(second, LockNotAvailable), "it follows one that prepared the statement for both"
    assert third == [[(2,)]]
    assert await pipeline.run([(PROJECTS, {}), (NUMBER, {"number": 3})]) == [[(1,)], [(3,)]]


@pytest.mark.parametrize(("value", "error"), [("\ud800", UnicodeEncodeError), ("a\0b", psycopg.DataError)])
async def test_a_value_that_cannot_be_sent_leaves_others_their_own_rows(
    database: Database, value: str, error: type[Exception]
) -> None:
    await database.fetch(NUMBER, number=1)
    with pytest.raises(error):
        await database.fetch(TEXT, text=value)
    found = await asyncio.gather(*(database.fetch(TEXT, text=each) for each in "abc"))
    assert found == [[(each,)] for each in "abc"]


async def test_a_batch_that_is_not_sent_whole_ends_its_connection(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.ensure_future(pipeline.run([(SLEEPING, {})]))
    await asyncio.sleep(0)

    def out_of_memory(*_: object) -> None:
        raise MemoryError("of one caller")

    monkeypatch.setattr(Pipeline, "_change", out_of_memory)
    with pytest.raises(MemoryError):
        await pipeline.run([(NUMBER, {"number": 1})])
    assert not pipeline.is_open
    with pytest.raises(psycopg.OperationalError, match=r"^MemoryError$"):
        await waiting


async def test_of_many_statements_those_used_lately_stay_prepared(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "MOST_PREPARED", 4)
    statements: list[Query[Any]] = [Query(tuple, select(literal_column(str(each)))) for each in range(10)]
    for _ in range(2):
        found = await asyncio.gather(*(pipeline.run([(each, {}), (NUMBER, {"number": 1})]) for each in statements))
        assert found == [[[(each,)], [(1,)]] for each in range(10)]
    for each in (NUMBER, *statements[:6]):
        await pipeline.run([(each, {"number": 0})])
    ((left,),) = (await pipeline.run([(PREPARED, {})]))[0]
    assert left == 4


async def test_a_failed_transaction_ends_where_no_further_statement_fits(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "MOST_PREPARED", 2)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await pipeline.run([(Statement(text("BEGIN")), {}), (DIVIDED, {"number": 0})])
    with pytest.raises(InFailedSqlTransaction):
        await pipeline.run([(DIVIDED, {"number": 1})])
    await pipeline.run([(Statement(text("ROLLBACK")), {})])
    assert await pipeline.run([(DIVIDED, {"number": 1})]) == [[(1,)]]
