"""`stillhouse serve | api | worker | migrate | gc | keys …`: their arguments. What they do is in `actions`.

`actions` imports the service, and is itself imported only when such a command runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from app.cli.errors import AsJson, Code, fail

Data = Annotated[Path | None, typer.Option("--data", help="Data directory (STILLHOUSE_DATA_DIR).")]
Host = Annotated[str | None, typer.Option(help="Address to listen at (STILLHOUSE_HOST).")]
Port = Annotated[int | None, typer.Option(help="Port to listen at; 0 takes any (STILLHOUSE_PORT).")]

_OWN: Final = ("app", "workers", "migrations")
keys = typer.Typer(no_args_is_help=True, help="API keys.")


@contextmanager
def needs_server() -> Iterator[None]:
    """Around the import of what a command needs: without the extra `server` it says so, and ends."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in _OWN:
            raise
        fail(
            f"expected the packages of the service, found no {missing.name}: "
            "pip install 'stillhouse[server]', or 'stillhouse[worker]' for a machine that also trains",
            Code.REFUSED,
        )


def serve(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(help="Training slots; 0 only inspects uploads and predicts.")] = None,
) -> None:
    """Run the API and a worker: everything for a single machine."""
    with needs_server():
        from app.cli.local import actions
    actions.run_service(host, port, data, workers)


def api(host: Host = None, port: Port = None, data: Data = None) -> None:
    """Run the API only; workers (`stillhouse worker`) run elsewhere on the same database and store."""
    with needs_server():
        from app.cli.local import actions
    actions.run_api(host, port, data)


def worker(
    data: Data = None,
    slots: Annotated[int | None, typer.Option(help="Training slots on CPU (STILLHOUSE_WORKERS).")] = None,
    lanes: Annotated[
        str, typer.Option(help="Some of `train`, `inspect` and `predict`, separated by commas.")
    ] = "train,inspect,predict",
) -> None:
    """Run a worker only. It replaces this process, so that signals reach it."""
    with needs_server():
        from app.cli.local import actions
    actions.run_worker(data, slots, lanes)


def migrate(
    data: Data = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing: check the migrations.")] = False,
    as_json: AsJson = False,
) -> None:
    """Migrate the database. With --check, compare migrations and row classes on a fresh database."""
    with needs_server():
        from app.cli.local import actions
    actions.migrate(data, check=check, as_json=as_json)


def gc(
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing: list what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what is no longer needed. The running service does the same regularly; safe beside it."""
    with needs_server():
        from app.cli.local import actions
    actions.gc(data, dry_run=dry_run, as_json=as_json)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Name of its owner.")], data: Data = None, as_json: AsJson = False
) -> None:
    """Create a key and print it. It is not shown again."""
    with needs_server():
        from app.cli.local import actions
    actions.create_key(name, data, as_json=as_json)


@keys.command("list")
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """List all keys: id, prefix, created, last used, state, name."""
    with needs_server():
        from app.cli.local import actions
    actions.list_keys(data, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    identity: Annotated[str, typer.Argument(help="Its id or prefix.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, permanently: requests with it are refused at once, and its streams, long polls and uploads end."""
    with needs_server():
        from app.cli.local import actions
    actions.revoke_key(identity, data, as_json=as_json)
