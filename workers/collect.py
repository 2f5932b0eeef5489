"""`python -m workers.collect [--dry-run]`: be rid of what a worker's disk keeps too long; what went (or would), as JSON
lines. Safe beside running workers.
"""

import asyncio
import json
import sys

from app.db.engine import open_database
from app.settings import Settings
from workers.runtime.retention import stale


async def _collect(*, dry: bool) -> None:
    settings = Settings().prepared()
    database = open_database(settings.database)
    try:
        for each in await stale(settings, database, only_look=dry):
            if not dry:
                await asyncio.to_thread(each.remove)
            sys.stdout.write(json.dumps({"kind": each.kind, "name": each.name, "bytes": each.bytes}) + "\n")
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_collect(dry="--dry-run" in sys.argv[1:]))
