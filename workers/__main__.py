"""`python -m workers --slots N --lanes train,inspect,predict`: a worker.

SIGTERM drains it; a second SIGTERM kills its jobs.
"""

import argparse
import asyncio
import itertools
import logging
import os
import signal
import sys
from functools import partial
from typing import get_args

from app.db.engine import open_database
from app.queue.records import Lane, WorkerLane
from app.settings import Settings
from app.storage.opening import open_store
from app.storage.private import create_private_files, private_folder
from workers.runtime.child.pool import DEFAULT_ENTRY
from workers.runtime.child.sandbox import lacking
from workers.runtime.paths import Paths
from workers.runtime.supervisor.slots import taken_slots
from workers.runtime.supervisor.supervisor import Supervisor

_LANES: tuple[WorkerLane, ...] = (*get_args(Lane), "predict")


def _lanes(text: str) -> set[WorkerLane]:
    lanes = {lane for lane in _LANES if lane in text.split(",")}
    if not lanes or len(lanes) != len(text.split(",")):
        shown = ", ".join(f"`{lane}`" for lane in _LANES)
        raise argparse.ArgumentTypeError(f"expected some of {shown}, separated by commas, found {text!r}")
    return lanes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--slots", type=int, default=None, help="training slots on the CPU; GPUs have one each")
    parser.add_argument("--lanes", type=_lanes, default="train,inspect,predict")
    parser.add_argument("--entry", default=DEFAULT_ENTRY, help="what a child runs, as module:function")
    return parser.parse_args()


async def _work(arguments: argparse.Namespace) -> None:
    settings = Settings().prepared()
    for folder in Paths(settings.data_dir).own:
        private_folder(folder)
    cpu_slots = settings.workers if arguments.slots is None else arguments.slots
    predicts = "predict" in arguments.lanes
    with taken_slots(Paths(settings.data_dir), cpu_slots, arguments.lanes) as slots:
        if not slots and not predicts:
            sys.exit("expected at least one slot, found none: pass --slots 1, or add the lane `inspect` or `predict`")
        names = [*(slot.name for slot in slots), *(["predictions"] if predicts else [])]
        for problem in lacking():
            logging.warning(problem)
        logging.info("worker %d with slots %s", os.getpid(), ", ".join(names))
        database = open_database(settings.database)
        store = open_store(settings.store_url or None, settings.data_dir)
        supervisor = Supervisor(settings, database, store, slots, arguments.entry, predicts=predicts)
        _handle_signals(supervisor)
        try:
            await supervisor.run()
        finally:
            await database.close()


def _handle_signals(supervisor: Supervisor) -> None:
    """SIGTERM and SIGINT drain, and kill at the second signal.

    `stillhouse serve` sends SIGUSR1 to drain and SIGQUIT to kill instead: a service manager sends SIGTERM to every
    process of a group, and its signal and the parent's must not count as two.
    """
    loop, signals = asyncio.get_running_loop(), itertools.count()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: supervisor.drain(now=next(signals) > 0))
    loop.add_signal_handler(signal.SIGUSR1, supervisor.drain)
    loop.add_signal_handler(signal.SIGQUIT, partial(supervisor.drain, now=True))


def main() -> None:
    """Run a worker."""
    create_private_files()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_work(_arguments()))


if __name__ == "__main__":
    main()
