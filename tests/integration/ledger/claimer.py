"""A worker in a process of its own: claims and finishes jobs until there are none; prints what it claimed.

python claimer.py DATABASE_URL OWNER
"""

import asyncio
import sys

from app.contracts.wire.events import ProgressEvent
from app.db.engine import open_database
from app.queue.ledger import Ledger
from app.queue.records import Publication
from tests.integration.ledger.harness import FACTS, MODEL


async def work(url: str, owner: str) -> None:
    database = open_database(url)
    ledger = Ledger(database)
    while claim := await ledger.claim(owner, "train", "cpu"):
        assert await ledger.begin(claim, {})
        for step in range(3):
            assert await ledger.record(claim, [ProgressEvent(step=step)])
        assert await ledger.succeed(claim, Publication((), MODEL, FACTS, {"owner": owner}))
        print(claim.job_id, claim.attempt, flush=True)
    await database.close()


asyncio.run(work(sys.argv[1], sys.argv[2]))
