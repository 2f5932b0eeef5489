"""`python -m workers.runtime.retention [--dry-run]`: apply the retention policy to this worker's disk once.

Prints what was deleted (or would be), and what is kept for a time, as JSON lines. Safe beside running workers.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from app.db.engine import open_database
from app.settings import Settings
from workers.runtime.retention.policy import find_kept, find_stale


async def _collect(*, dry_run: bool) -> None:
    settings = Settings().prepared()
    database = open_database(settings.database)
    try:
        kept = await find_kept(settings, database)
        for item in await find_stale(settings, database, dry_run=dry_run):
            if not dry_run:
                await asyncio.to_thread(item.remove)
            sys.stdout.write(json.dumps({"kind": item.kind, "name": item.name, "bytes": item.bytes}) + "\n")
        for each in kept:
            sys.stdout.write(json.dumps(asdict(each)) + "\n")
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_collect(dry_run="--dry-run" in sys.argv[1:]))
