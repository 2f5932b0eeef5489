"""A server that takes fewer connections than the service would use, and how many that is at most."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from sqlalchemy import URL, func, select, text

from app.db.engine import Database, open_database
from app.db.errors import DatabaseUnavailable
from app.db.postgresql import MOST_CONNECTIONS, OVERFLOW, POOLED, connected
from app.db.reads import Query, opening
from app.db.reads.query import Statement
from app.db.rows import ProjectRow
from app.db.transactions import Last, Steps

SLEEPING: Query[Any] = Query(tuple, select(func.pg_sleep(0.2)))
PROJECTS: Query[Any] = Query(tuple, select(func.count()).select_from(ProjectRow))
ONE: Query[Any] = Query(tuple, select(text("1")))
Limited = Callable[[int], Database]


@pytest.fixture
async def limited(migrated_postgresql_url: str) -> AsyncIterator[Limited]:
    """Opens the database as a role that may have so many connections."""
    opened = []
    with _role(migrated_postgresql_url.replace("+psycopg", "")) as (admin, role):

        def of(most: int) -> Database:
            admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT {most:d}".encode())
            opened.append(open_database(migrated_postgresql_url.replace("postgres@", f"{role}@")))
            return opened[-1]

        yield of
        for database in opened:
            await database.close()


@contextmanager
def _role(url: str) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    role = f"few_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN".encode())
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
        yield admin, role
        admin.execute(f"DROP OWNED BY {role}".encode())
        admin.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A connection that was tried, each time. Those that are taken come later than those that are refused."""
    tried: list[str] = []

    async def counted(url: URL) -> AsyncConnection[Any]:
        tried.append(str(url))
        connection = await connected(url)
        await asyncio.sleep(0.05)
        return connection

    monkeypatch.setattr(opening, "connected", counted)
    monkeypatch.setattr(opening, "RETRY_SECONDS", 1000.0)
    return tried


async def test_reads_share_late_connections_where_no_other_can_be_opened(
    limited: Limited, attempts: list[str], migrated_postgresql_url: str
) -> None:
    database = limited(2)
    late = []
    with psycopg.connect(migrated_postgresql_url.replace("+psycopg", "")) as other:
        other.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
        while len(attempts) < 3:
            late.append(asyncio.create_task(database.fetch(PROJECTS)))
            await asyncio.sleep(0.02)
        reads = [asyncio.create_task(database.fetch(ONE)) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in [*late, *reads])
    assert await asyncio.gather(*reads) == [[(1,)]] * 10
    assert await asyncio.gather(*late) == [[(1,)]] * len(late)
    assert len(attempts) == 3, "two connections, and one that was refused and is not tried again at once"


def adding(name: str) -> Steps[str]:
    yield [(SLEEPING, {})]
    statement = text(f"INSERT INTO projects (id, name, created_at) VALUES ('{name}', 'one', now())")
    yield Last([(Statement(statement), {})], [name], lambda: select(ProjectRow.id))
    return name


async def test_transactions_wait_for_a_connection_where_no_other_can_be_opened(
    limited: Limited, attempts: list[str]
) -> None:
    database = limited(2)
    names = [f"prj_{number}" for number in range(6)]
    assert await asyncio.gather(*(database.transact(partial(adding, name)) for name in names)) == names
    assert len(attempts) <= len(names), "what was refused is not tried again at once"


async def test_without_any_connection_the_database_is_unavailable(limited: Limited) -> None:
    database = limited(0)
    for call in (database.fetch(ONE), database.transact(lambda: adding("a"))):
        with pytest.raises(DatabaseUnavailable, match="too many connections"):
            await call


@pytest.fixture
def backends(migrated_postgresql_url: str) -> Iterator[Callable[[], int]]:
    """How many connections others have to the database."""
    found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(migrated_postgresql_url.replace("+psycopg", ""), autocommit=True) as admin:
        yield lambda: int(admin.execute(found).fetchall()[0][0])


def test_the_readme_says_how_many_connections_a_process_takes() -> None:
    assert f"at most {MOST_CONNECTIONS} connections" in Path("README.md").read_text()


async def test_a_process_takes_no_more_connections(migrated_postgresql_url: str, backends: Callable[[], int]) -> None:
    database = open_database(migrated_postgresql_url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.enter_context(database.watch("prj_default"))
        writing = [asyncio.create_task(database.transact(partial(adding, f"prj_{number}"))) for number in range(12)]
        for _ in range(POOLED + OVERFLOW):
            session = await stack.enter_async_context(database.read())
            await session.execute(text("SELECT 1"))
        reading = []
        while backends() < MOST_CONNECTIONS:
            reading.append(asyncio.create_task(database.fetch(SLEEPING)))
            await asyncio.sleep(0.01)
        reading += [asyncio.create_task(database.fetch(SLEEPING)) for _ in range(4)]
        await asyncio.gather(*writing, *reading)
        assert backends() == MOST_CONNECTIONS
