"""`stillhouse gc`: cleans store and database in this process, and a worker's disk in a subprocess."""

import asyncio
import json

from app.cli.worker_process import python_command, worker_environment
from app.http.services import open_services
from app.settings import Settings
from app.system.retention.policy import StaleItem, collect, find_kept, find_stale


async def collect_garbage(settings: Settings, *, dry_run: bool) -> list[StaleItem]:
    """Delete what is stale, or only list it for a dry run; and list what is kept for a time."""
    of_worker = await _on_worker_disk(settings, dry_run=dry_run)  # first: it makes room where the disk is full
    services = open_services(settings)
    try:
        items = [*await find_stale(services), *await find_kept(services)]
        if not dry_run:
            await collect(services)
    finally:
        await services.database.close()
    return [*items, *of_worker]


async def _on_worker_disk(settings: Settings, *, dry_run: bool) -> list[StaleItem]:
    command = python_command("workers.runtime.retention", *(["--dry-run"] if dry_run else []))
    environment = worker_environment(settings)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return [StaleItem(**json.loads(line)) for line in output.splitlines()]
