"""Sessions, signals, clock and errors, on both databases."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from app.db import engine, failures
from app.db.base import json_text
from app.db.clock import BootId, LeaseClock
from app.db.engine import Database, open_database
from app.db.errors import DatabaseFull, DatabaseUnavailable, UnsupportedDatabase
from app.db.listeners import sqlite as listening
from app.db.reads import Query
from app.db.rows import DEFAULT_PROJECT, OutboxRow, ProjectRow
from app.db.signals import WORK, announce


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    database = open_database(migrated_url)
    yield database
    await database.close()


async def add(database: Database, topic: str, payload: object = None, when: datetime | None = None) -> None:
    async with database.write() as session:
        row = OutboxRow(topic=topic, subject="s", payload=payload or {})
        if when is not None:
            row.created_at = when
        session.add(row)


async def topics(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(OutboxRow.topic).order_by(OutboxRow.id)))


async def test_the_first_migration_makes_the_default_project(database: Database) -> None:
    async with database.read() as session:
        project = await session.get_one(ProjectRow, DEFAULT_PROJECT)
    assert project.created_at.tzinfo is UTC


async def test_a_block_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        async with database.write() as session:
            session.add(OutboxRow(topic="lost", subject="s", payload={}))
            await session.flush()
            raise RuntimeError("on purpose")
    await add(database, "kept")
    assert await topics(database) == ["kept"]


async def test_first_reads_that_come_together_open_few_connections(database: Database) -> None:
    names: Query[Any] = Query(tuple, select(ProjectRow.name))
    before = open_descriptors()
    found = await asyncio.gather(*(database.fetch(names) for _ in range(100)))
    assert all(each == found[0] and len(each) == 1 for each in found)
    assert open_descriptors() - before <= 27  # of the 33 that `app.cli.connections.limits` reserves


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_cancelled_task_leaves_nothing_and_frees_the_writer(database: Database) -> None:
    inside = asyncio.Event()

    async def stuck() -> None:
        async with database.write() as session:
            session.add(OutboxRow(topic="lost", subject="s", payload={}))
            await session.flush()
            inside.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(stuck())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await add(database, "kept")
    assert await topics(database) == ["kept"]


async def test_documents_keep_the_order_of_their_keys_and_any_text(database: Database) -> None:
    document = {"z": 1, "a": {"y": [1.5, None, True], "b": "π \ud800 \x00"}}
    await add(database, "json", document)
    async with database.read() as session:
        row = (await session.scalars(select(OutboxRow))).one()
    assert json_text(row.payload) == json_text(document)
    assert list(row.payload) == ["z", "a"]


async def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    there = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5)))
    await add(database, "time", when=there)
    async with database.read() as session:
        back = (await session.scalars(select(OutboxRow.created_at))).one()
    assert back == there
    assert back.utcoffset() == timedelta(0)


async def test_the_lease_clock_moves_within_a_transaction(database: Database) -> None:
    async with database.write() as session:
        first = await session.scalar(select(LeaseClock()))
        await asyncio.sleep(0.01)
        second = await session.scalar(select(LeaseClock()))
        boot = await session.scalar(select(BootId()))
    assert first is not None
    assert second is not None
    assert second >= first + 0.01
    assert boot


async def test_all_processes_of_a_database_share_one_clock(database: Database, migrated_url: str) -> None:
    other = open_database(migrated_url)
    readings = []
    for each in (database, other, database):
        async with each.read() as session:
            readings.append((await session.execute(select(LeaseClock(), BootId()))).one())
    await other.close()
    assert [reading[0] for reading in readings] == sorted(reading[0] for reading in readings)
    assert len({reading[1] for reading in readings}) == 1


async def test_a_waiter_hears_of_another_process_s_commit(database: Database, migrated_url: str) -> None:
    other = open_database(migrated_url)
    with database.watch("job_1") as watch:
        await watch.wait(0.5)  # the first ring only says that the ear is at the wall
        async with other.write() as session:
            session.add(OutboxRow(topic="t", subject="s", payload={}))
            announce(session, "job_1")
        assert await watch.wait(60.0)
    await other.close()


async def test_a_waiter_hears_of_its_own_process_s_commit(database: Database) -> None:
    with database.watch(WORK, "job_1") as watch:
        await watch.wait(0.5)
        async with database.write() as session:
            session.add(OutboxRow(topic="t", subject="s", payload={}))
            announce(session, WORK)
        assert await watch.wait(60.0)


async def _signal(database: Database, name: str) -> None:
    async with database.write() as session:
        session.add(OutboxRow(topic="t", subject="s", payload={}))
        announce(session, name)


async def test_a_signal_wakes_the_watches_of_its_name_alone(database: Database, migrated_url: str) -> None:
    """Of its own process as of another."""
    theirs = open_database(migrated_url)
    with database.watch("job_1") as named, database.watch("job_2") as other:
        for watch in (named, other):
            assert await watch.wait(60.0)  # the first ring only says that the listener is there
        for each in (database, theirs, database):
            await _signal(each, "job_1")
            assert await named.wait(60.0)
        assert not await other.wait(0.1)
    await theirs.close()


async def test_a_signal_of_another_process_is_heard_among_its_own(migrated_sqlite_url: str) -> None:
    database, other = open_database(migrated_sqlite_url), open_database(migrated_sqlite_url)
    with database.watch("job_1") as watch:
        assert await watch.wait(60.0)
        for each, name in ((database, "job_2"), (other, "job_1"), (database, "job_2")):
            await _signal(each, name)
        assert await watch.wait(60.0)
    await database.close()
    await other.close()


async def test_an_urgent_watch_hears_of_a_write_although_it_seldom_looks(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "QUIET_SECONDS", 3600.0)
    monkeypatch.setattr(listening, "ALERT_SECONDS", 0.0)
    database, other = open_database(migrated_sqlite_url), open_database(migrated_sqlite_url)
    with database.watch("job_1", urgent=True) as watch:
        assert await watch.wait(60.0)
        await asyncio.sleep(0.1)  # it waits for the kernel now
        await _signal(other, "job_1")
        assert await watch.wait(60.0)
    await database.close()
    await other.close()


async def test_a_change_between_look_and_wait_is_not_missed(database: Database) -> None:
    with database.watch("job_1") as watch:
        await watch.wait(0.5)
        await add(database, "look")
        async with database.write() as session:
            announce(session, "job_1")
            session.add(OutboxRow(topic="t", subject="s", payload={}))
        await asyncio.sleep(0.2)  # no waiter while it changes
        assert await watch.wait(60.0)


async def test_a_wait_without_a_change_ends(database: Database) -> None:
    with database.watch("job_1") as watch:
        await watch.wait(0.5)
        assert not await watch.wait(0.05)


async def test_what_is_rolled_back_rings_nobody(database: Database) -> None:
    with database.watch("job_1") as watch:
        await watch.wait(0.5)
        with pytest.raises(RuntimeError, match="on purpose"):
            async with database.write() as session:
                announce(session, "job_1")
                session.add(OutboxRow(topic="t", subject="s", payload={}))
                await session.flush()
                raise RuntimeError("on purpose")
        assert not await watch.wait(0.1)


async def test_the_listener_survives_the_loss_of_its_connection(migrated_postgresql_url: str) -> None:
    database, other = open_database(migrated_postgresql_url), open_database(migrated_postgresql_url)
    with database.watch("job_1") as watch:
        assert await watch.wait(60.0)
        async with other.write() as session:
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
            assert (await session.execute(text(kill))).all()
        assert await watch.wait(60.0)  # rung when it listens again: something may have been missed
        async with other.write() as session:
            announce(session, "job_1")
        assert await watch.wait(60.0)
    await other.close()
    await database.close()


async def test_a_server_that_drops_its_connections_costs_no_request(migrated_postgresql_url: str) -> None:
    database, other = open_database(migrated_postgresql_url), open_database(migrated_postgresql_url)
    await database.ping()
    async with other.write() as session:
        await session.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        )
    await database.ping()
    await database.close()
    await other.close()


async def test_a_connection_lost_inside_a_transaction_is_unavailability(migrated_postgresql_url: str) -> None:
    database = open_database(migrated_postgresql_url)
    with pytest.raises(DatabaseUnavailable) as caught:
        async with database.write() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert caught.value.retry_after > 0
    await database.ping()
    await database.close()


async def test_a_full_disk_is_said_by_name_and_the_service_is_not_ready_for_a_while(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite may write no further page; of PostgreSQL the server's own error."""
    database = open_database(migrated_url)
    await database.require_room()
    with pytest.raises(DatabaseFull, match=r"the disk of the database is full .*: free space") as caught:
        async with database.write() as session:
            if database.dialect == "postgresql":
                await session.execute(
                    text("DO $$ BEGIN RAISE EXCEPTION 'No space left' USING ERRCODE = '53100'; END $$")
                )
            else:
                await session.execute(text("PRAGMA max_page_count = 1"))
                rows = [{"topic": "t", "subject": "s", "payload": {"long": "x" * 4000}} for _ in range(10)]
                await session.execute(insert(OutboxRow), rows)
    assert "stillhouse.db" not in caught.value.detail, "clients learn no paths"
    await database.ping()
    with pytest.raises(DatabaseFull):
        await database.require_room()
    monkeypatch.setattr(engine, "FULL_SECONDS", 0.0)
    await database.require_room()
    await database.close()


async def test_the_free_space_of_the_disk_of_an_sqlite_file_counts_before_a_change_fails(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(migrated_sqlite_url)
    monkeypatch.setattr(failures, "LEAST_FREE", 1 << 62)
    with pytest.raises(DatabaseFull):
        await database.require_room()
    await database.close()


async def test_a_server_that_is_not_there_is_unavailability(tmp_path: Path) -> None:
    database = open_database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable, match="not available"):
        await database.ping()
    await database.close()


async def test_an_sqlite_file_that_cannot_be_opened_is_unavailability(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        await database.ping()
    await database.close()
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:  # aiosqlite does not wait for that of a failed connection
            await asyncio.to_thread(thread.join)


async def test_a_database_may_be_closed_as_soon_as_somebody_waits(migrated_url: str) -> None:
    """However far the listener's connection has got, it is closed: a forgotten one is a ResourceWarning."""
    for quarter_milliseconds in range(40):
        database = open_database(migrated_url)
        with database.watch("job_1"):
            await asyncio.sleep(quarter_milliseconds / 4000)
        await database.close()
    gc.collect()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "database-listener"] == []


async def test_a_server_that_goes_while_the_database_is_closed_keeps_nobody_waiting(tmp_path: Path) -> None:
    database = open_database(f"postgresql://nobody@/none?host={tmp_path}")
    with database.watch("job_1"):
        await asyncio.sleep(0.01)
    async with asyncio.timeout(30.0):
        await database.close()


async def test_readers_cannot_write(migrated_sqlite_url: str) -> None:
    database = open_database(migrated_sqlite_url)
    with pytest.raises(DatabaseUnavailable, match="readonly"):
        async with database.read() as session:
            await session.execute(insert(OutboxRow).values(topic="t", subject="s", payload={}))
    await database.close()


async def test_sqlite_commits_are_durable_and_keys_are_checked(migrated_sqlite_url: str) -> None:
    database = open_database(migrated_sqlite_url)
    for session_of in (database.read, database.write):
        async with session_of() as session:
            settings = [
                await session.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        assert settings == ["wal", 2, 1, 30_000]  # 2 is FULL
    await database.close()


def test_what_was_acknowledged_survives_the_death_of_its_writer(migrated_sqlite_url: str) -> None:
    """The writer is killed in the middle of its commits, again and again."""
    script = """
import asyncio, sys
from app.db.engine import open_database
from app.db.rows import OutboxRow
async def main():
    database = open_database(sys.argv[1])
    for number in range(100_000):
        async with database.write() as session:
            session.add(OutboxRow(topic=f"{sys.argv[2]}-{number}", subject="s", payload={}))
        print(f"{sys.argv[2]}-{number}", flush=True)
asyncio.run(main())
"""
    acknowledged = []
    for round_number in range(3):
        command = [sys.executable, "-c", script, migrated_sqlite_url, str(round_number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            acknowledged += [writer.stdout.readline().strip() for _ in range(20 + 7 * round_number)]
            writer.kill()
            acknowledged += writer.stdout.read().split()
    assert set(acknowledged) <= set(asyncio.run(topics_at(migrated_sqlite_url)))


async def topics_at(url: str) -> list[str]:
    database = open_database(url)
    try:
        return await topics(database)
    finally:
        await database.close()


async def test_many_writers_of_several_databases_never_see_a_locked_one(migrated_sqlite_url: str) -> None:
    databases = [open_database(migrated_sqlite_url) for _ in range(4)]
    await asyncio.gather(*(count_up(database) for database in databases for _ in range(16)))
    async with databases[0].read() as session:
        assert await session.scalar(select(func.count()).select_from(OutboxRow)) == 64 * 3
    for database in databases:
        await database.close()


async def count_up(database: Database) -> None:
    """Reads, then writes what it read: the pattern that a deferred transaction dies of."""
    for _ in range(3):
        async with database.write() as session:
            seen = await session.scalar(select(func.count()).select_from(OutboxRow))
            session.add(OutboxRow(topic=str(seen), subject="s", payload={}))


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "no url, secret"])
def test_other_databases_are_refused_without_an_echo(url: str) -> None:
    with pytest.raises(UnsupportedDatabase) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
