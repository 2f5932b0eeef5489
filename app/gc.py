"""`stillhouse gc`: the store and the database in this process, a worker's disk in a worker's."""

import asyncio
import json
import sys

from app import retention
from app.main import open_services
from app.retention import Stale
from app.serving import worker_environment
from app.settings import Settings


async def collected(settings: Settings, *, dry_run: bool) -> list[Stale]:
    """What went, or would go."""
    services = open_services(settings)
    try:
        found = await retention.stale(services)
        if not dry_run:
            await retention.collect(services)
    finally:
        await services.database.close()
    return [*found, *await _of_worker(settings, dry_run=dry_run)]


async def _of_worker(settings: Settings, *, dry_run: bool) -> list[Stale]:
    command = [sys.executable, "-m", "workers.collect", *(["--dry-run"] if dry_run else [])]
    environment = worker_environment(settings)
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return [Stale(**json.loads(line)) for line in output.splitlines()]
