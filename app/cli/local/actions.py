"""What `stillhouse serve | api | worker | migrate | gc | keys …` do."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import repository
from app.access.first_key import RevokedKey, announcement, ensure_first_key
from app.access.secrets import new_key
from app.cli.errors import Code, fail
from app.cli.gc import collect_garbage
from app.cli.output import note, print_json, show
from app.cli.server import AlreadyServed, CannotListen, bound_socket, serve, sole_server
from app.cli.starting import Unusable, has_database, prepare, require_database, warnings
from app.cli.worker_process import WorkerProcess, worker_command, worker_environment
from app.db import migrate as migrations
from app.db.engine import open_database
from app.db.errors import DatabaseUnavailable, UnsupportedDatabase
from app.db.rows import KeyRow
from app.main import create_app
from app.settings import Settings
from app.storage.private import create_private_files
from app.system.retention import staged_uploads
from app.system.retention.policy import StaleItem

T = TypeVar("T")


def _fail(message: object) -> NoReturn:
    fail(message, Code.REFUSED)


def _settings(*, existing: bool = False, **options: Any) -> Settings:
    """The settings from the environment, overridden by the command line; their folders are there afterwards.

    `existing`: the command works on what is there, so nothing is created where there is nothing.
    """
    create_private_files()
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
        if existing:
            require_database(settings)
        prepare(settings)
    except ValidationError as error:
        errors = (f"STILLHOUSE_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        _fail("; ".join(errors))
    except (Unusable, UnsupportedDatabase) as error:
        _fail(error)
    for warning in warnings(settings, os.environ):
        note(f"stillhouse: warning: {warning}")
    return settings


def _ensure_migrated(settings: Settings) -> None:
    """Migrate the embedded database; only check any other one."""
    if settings.embedded:
        migrations.upgrade(settings.database)
        return
    differences = migrations.check(settings.database)
    if differences:
        _fail("; ".join(differences))


async def _first_key(settings: Settings) -> str | None:
    database = open_database(settings.database)
    try:
        return await ensure_first_key(database, settings)
    finally:
        await database.close()


def _start(settings: Settings, worker: WorkerProcess | None) -> None:
    """Take the port, check the schema, create the first key if there is none, then serve until stopped."""
    with bound_socket(settings.host, settings.port) as bound:
        _ensure_migrated(settings)
        key = asyncio.run(_first_key(settings))
        if key is not None:
            typer.echo(announcement(key, settings.admin_key_file, to_terminal=sys.stdout.isatty()))
        sys.stdout.flush()
        asyncio.run(serve(create_app(settings), settings, worker, bound))


def _or_fail(start: Callable[[], None]) -> None:
    try:
        start()
    except (AlreadyServed, CannotListen, RevokedKey, DatabaseUnavailable, UnsupportedDatabase) as error:
        _fail(error)


def run_service(host: str | None, port: int | None, data: Path | None, workers: int | None) -> None:
    """Run the API and a worker: everything for a single machine."""
    settings = _settings(host=host, port=port, data_dir=data, workers=workers)
    lanes = ("train", "inspect", "predict") if settings.workers else ("inspect", "predict")
    command = worker_command(settings.workers, lanes)
    worker = WorkerProcess(command, worker_environment(settings), settings.drain_seconds)

    def start() -> None:
        with sole_server(settings.data_dir):
            staged_uploads.clear(settings.staging_dir)
            _start(settings, worker)

    _or_fail(start)


def run_api(host: str | None, port: int | None, data: Path | None) -> None:
    """Run the API only; workers (`stillhouse worker`) run elsewhere on the same database and store."""
    settings = _settings(host=host, port=port, data_dir=data)
    _or_fail(lambda: _start(settings, None))


def run_worker(data: Path | None, slots: int | None, lanes: str) -> None:
    """Run a worker only. It replaces this process, so that signals reach it."""
    settings = _settings(data_dir=data, workers=slots)
    command = worker_command(settings.workers, lanes.split(","))
    os.execve(command[0], command, worker_environment(settings))


def migrate(data: Path | None, *, check: bool, as_json: bool) -> None:
    """Migrate the database. With --check, compare migrations and row classes on a fresh database."""
    if check:
        differences = migrations.check()
        if differences:
            _fail("migrations and rows differ: " + "; ".join(differences))
        show({"is_up_to_date": True}, "migrations are in step with the rows", as_json=as_json)
        return
    settings = _settings(data_dir=data)
    _or_fail(lambda: migrations.upgrade(settings.database))
    show({"is_up_to_date": True}, "the database is up to date", as_json=as_json)


def gc(data: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete what is no longer needed. The running service does the same regularly; safe beside it."""
    settings = _settings(data_dir=data, existing=True)
    items: list[StaleItem] = []

    def run() -> None:
        _ensure_migrated(settings)
        items.extend(asyncio.run(collect_garbage(settings, dry_run=dry_run)))

    _or_fail(run)
    show({"is_dry_run": dry_run, "items": [asdict(item) for item in items]}, _in_words(items, dry_run), as_json=as_json)


def _in_words(items: Sequence[StaleItem], dry_run: bool) -> str:
    """A line for each item, and their sums."""
    lines = []
    for item in items:
        until = "" if item.kept_until is None else f"  kept until {item.kept_until}"
        lines.append(f"{item.bytes:>15,}  {item.kind:<12}  {item.name}{until}")
    stale = [item for item in items if item.kept_until is None]
    if len(stale) < len(items):
        held = sum(item.bytes for item in items) - sum(item.bytes for item in stale)
        lines.append(f"{len(items) - len(stale)} items are kept for a time, {held:,} bytes")
    verb = "would be deleted" if dry_run else "deleted"
    return "\n".join((*lines, f"{len(stale)} items {verb}, {sum(item.bytes for item in stale):,} bytes"))


def _with_database(data: Path | None, work: Callable[[AsyncSession], Awaitable[T]], *, existing: bool = True) -> T:
    settings = _settings(data_dir=data, existing=existing)

    async def run() -> T:
        database = open_database(settings.database)
        try:
            async with database.write() as session:
                return await work(session)
        finally:
            await database.close()

    try:
        if not has_database(settings):
            note(f"stillhouse: makes a new database in {settings.data_dir}: services on other folders lack it")
        _ensure_migrated(settings)
        return asyncio.run(run())
    except (DatabaseUnavailable, UnsupportedDatabase) as error:
        _fail(error)


def create_key(name: str, data: Path | None, *, as_json: bool) -> None:
    """Create a key and print it. It is not shown again."""
    key = new_key()
    row = _with_database(data, lambda session: repository.add(session, key, name), existing=False)
    if not as_json:
        note(f"{row.id} {row.name}")
    show({"id": row.id, "name": row.name, "prefix": row.prefix, "key": key}, key, as_json=as_json)


def list_keys(data: Path | None, *, as_json: bool) -> None:
    """List all keys: id, prefix, created, last used, state, name."""
    rows = _with_database(data, repository.all_keys)
    if as_json:
        for row in rows:
            print_json(_document(row))
        return
    for row in rows:
        used = _moment(row.last_used_at) or "never used"
        state = f"revoked {_moment(row.revoked_at)}" if row.revoked_at else "live"
        typer.echo("  ".join((row.id, f"{row.prefix}…", _moment(row.created_at), used, state, row.name)))


def _document(key: KeyRow) -> dict[str, str | None]:
    moments = {"created_at": key.created_at, "last_used_at": key.last_used_at, "revoked_at": key.revoked_at}
    named = {"id": key.id, "name": key.name, "prefix": key.prefix}
    return named | {name: _moment(moment) or None for name, moment in moments.items()}


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="seconds")


def revoke_key(identity: str, data: Path | None, *, as_json: bool) -> None:
    """Revoke a key, permanently: requests with it are refused at once, and its streams, long polls and uploads end."""
    count = _with_database(data, lambda session: repository.revoke(session, identity))
    if not count:
        _fail(f"expected the id or prefix of an active key, found {identity}: `stillhouse keys list` shows them")
    show({"revoked": count}, f"revoked {count}", as_json=as_json)
