"""Workers in processes of their own: they claim and finish jobs until there are none, and print what they claimed.

python claimer.py DATABASE_URL OWNER…        a process for each owner, forked once everything is imported
"""

import asyncio
import os
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


for owner in sys.argv[2:]:
    if os.fork() == 0:
        asyncio.run(work(sys.argv[1], owner))
        sys.exit(0)
statuses = [os.wait()[1] for _ in sys.argv[2:]]
sys.exit(any(statuses))
