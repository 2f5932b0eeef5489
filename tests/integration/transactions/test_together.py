"""Transactions of several callers that are committed together: each is as if it were alone."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import Select, String, bindparam, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engine import Database, open_database
from app.db.errors import DatabaseUnavailable
from app.db.reads.query import Query, Statement
from app.db.rows import ProjectRow, SignalRow
from app.db.signals import announce
from app.db.transactions import Last, Steps

ADD = Statement(insert(ProjectRow).values(id=bindparam("new", type_=String()), name="one", created_at=func.now()))
COUNT = Query(tuple, select(func.count()).select_from(ProjectRow))


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_url)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(migrated_sqlite_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_sqlite_url)
    yield database
    await database.close()


def adding(name: str, *, fails: bool = False, ends: bool = True) -> Steps[int]:
    """Adds a project; the number of projects before it."""
    ((before,),) = (yield [(COUNT, {})])[0]
    if ends:
        yield Last([(ADD, {"new": name})], [name], proof)
    else:
        yield [(ADD, {"new": name})]
    if fails:
        raise LookupError(name)
    return int(before)


def proof() -> Select[str]:
    return select(ProjectRow.id)


async def names(database: Database) -> set[str]:
    async with database.read() as session:
        return set(await session.scalars(select(ProjectRow.id))) - {"prj_default"}


async def test_steps_without_a_last_one_leave_nothing(database: Database) -> None:
    assert await database.transact(lambda: adding("a", ends=False)) == 1
    assert await names(database) == set()
    assert await database.transact(lambda: adding("b")) == 1
    assert await names(database) == {"b"}


async def test_steps_that_fail_leave_nothing_and_the_others_stay(database: Database) -> None:
    begin = (partial(adding, "a"), partial(adding, "b", fails=True, ends=False), partial(adding, "c"))
    results = await asyncio.gather(
        *(database.transact(each) for each in begin),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [int, LookupError, int]
    assert await names(database) == {"a", "c"}


async def test_a_session_that_fails_leaves_nothing_and_the_others_stay(database: Database) -> None:
    async def work(session: AsyncSession, name: str) -> str:
        session.add(ProjectRow(id=name, name=name))
        await session.flush()
        if name == "b":
            raise LookupError(name)
        announce(session, name)
        return name

    with database.watch("c") as watch:
        results = await asyncio.gather(
            *(database.together(partial(work, name=name)) for name in "abc"),
            return_exceptions=True,
        )
        assert watch.take()
    assert [type(each) for each in results] == [str, LookupError, str]
    assert await names(database) == {"a", "c"}


async def test_what_arrives_during_a_transaction_is_committed_together(sqlite: Database) -> None:
    added = [f"prj_{number}" for number in range(12)]
    await asyncio.gather(*(sqlite.transact(partial(adding, name)) for name in added))
    async with sqlite.read() as session:
        written = (await session.scalars(select(SignalRow.names))).all()
    assert sorted(" ".join(written).split()) == sorted(added)
    assert len(written) < len(added)


async def test_no_caller_is_told_of_success_when_the_whole_transaction_was_undone(sqlite: Database) -> None:
    """As SQLite itself undoes one where the disk is full."""

    async def undone(session: AsyncSession) -> None:
        await session.execute(text("ROLLBACK"))

    ways = (sqlite.transact(lambda: adding("a")), sqlite.together(undone), sqlite.transact(lambda: adding("b")))
    results = await asyncio.gather(*ways, return_exceptions=True)
    assert all(isinstance(each, Exception) for each in results[:2])
    assert await names(sqlite) == ({"b"} if results[2] == 1 else set())
    await sqlite.transact(lambda: adding("c"))
    assert "c" in await names(sqlite)


async def test_what_waits_for_another_process_does_not_hold_up_the_event_loop(
    sqlite: Database, migrated_sqlite_url: str
) -> None:
    other = sqlite3.connect(migrated_sqlite_url.partition("///")[2], isolation_level=None)
    await sqlite.transact(lambda: adding("a"))  # its connection is open
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.ensure_future(sqlite.transact(lambda: adding("b")))]
        waiting.append(asyncio.ensure_future(sqlite.transact(lambda: adding("c"))))
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert await sqlite.fetch(COUNT) == [(2,)]
        assert not any(each.done() for each in waiting)
        other.execute("ROLLBACK")
        await asyncio.gather(*waiting)
    assert await names(sqlite) == {"a", "b", "c"}


async def test_a_caller_who_is_cancelled_undoes_nothing_and_holds_up_no_one(database: Database) -> None:
    first = asyncio.create_task(database.transact(lambda: adding("a")))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await database.transact(lambda: adding("b"))
    assert "b" in await names(database)


async def test_a_database_that_cannot_be_reached_is_unavailable() -> None:
    database = open_database("postgresql://none@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        await database.transact(lambda: adding("a"))
    await database.close()
