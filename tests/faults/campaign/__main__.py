"""`python -m tests.faults.campaign --rounds 20 --table FILE`: run the campaign and write its table."""

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.figures import machine
from tests.databases import running_postgresql
from tests.faults.campaign.catalogue import FAULTS
from tests.faults.campaign.outcome import Fault
from tests.faults.campaign.running import Campaign
from tests.faults.campaign.table import failures_of, table_of, write_table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="rounds of each fault on each of its databases")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the others follow")
    parser.add_argument("--table", type=Path, default=None, help="file of the table, which is also printed")
    parser.add_argument("--only", default="", help="run only faults whose names contain this text")
    parser.add_argument("--minutes", type=float, default=None, help="start no round after this time")
    parser.add_argument("--list", action="store_true", help="list the faults")
    return parser.parse_args()


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def _run(arguments: argparse.Namespace, faults: list[Fault]) -> bool:
    """Whether every round passed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    until = None if arguments.minutes is None else time.monotonic() + 60.0 * arguments.minutes
    command = f"python -m tests.faults.campaign --rounds {arguments.rounds} --seed {arguments.seed}"
    command += f" --only {shlex.quote(arguments.only)}" if arguments.only else ""
    with ExitStack() as stack:
        wanted = any("postgresql" in fault.databases for fault in faults)
        server = stack.enter_context(running_postgresql()) if wanted else None
        folder = Path(tempfile.mkdtemp(prefix="stillhouse-campaign-"))
        campaign = Campaign(faults, folder, server, _say)
        text = ""
        try:
            for _ in campaign.rounds(arguments.rounds, arguments.seed, until):
                text = table_of(campaign.seen, machine(), command)
                if arguments.table is not None:  # after each round, so that a killed campaign leaves its results
                    write_table(arguments.table, text)
        except KeyboardInterrupt:
            _say("stopped: the table is of what there is")
        print(text)
    if any(failures_of(row) for row in campaign.seen):
        _say(f"folders of failed rounds are kept below {folder}")
        return False
    shutil.rmtree(folder)
    return True


def main() -> None:
    """Run it."""
    arguments = _arguments()
    faults = [fault for fault in FAULTS if arguments.only in fault.name]
    if not faults:
        sys.exit(f"expected words of a fault's name, found {arguments.only!r}: see --list")
    if arguments.list:
        print("\n".join(f"{fault.name} ({', '.join(fault.databases)})" for fault in faults))
        return
    sys.exit(0 if _run(arguments, faults) else 1)


if __name__ == "__main__":
    main()
