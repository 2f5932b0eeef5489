"""`python -m tests.mutants --count 5000 --seed 0 --table FILE`: run the campaign and write its table."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from tests.benchmarks.figures import machine
from tests.mutants.running import campaign, running_pools
from tests.mutants.sound import Sound, sound_uploads
from tests.mutants.table import Counts, table_of


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="of all mutants")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--only", type=int, default=None, help="repeat the mutant of this number, and keep its folder")
    parser.add_argument("--format", default="", help="only mutants of sound uploads whose names contain this text")
    parser.add_argument("--parallel", type=int, default=2, help="mutants at a time")
    parser.add_argument("--minutes", type=float, default=None, help="inspect no mutant after this time")
    parser.add_argument("--table", type=Path, default=None, help="file of the table, which is also printed")
    return parser.parse_args()


def _numbers(arguments: argparse.Namespace, sounds: Sequence[Sound]) -> list[int]:
    if arguments.only is not None:
        return [arguments.only]
    numbers = range(arguments.first, arguments.first + arguments.count)
    return [number for number in numbers if arguments.format in sounds[number % len(sounds)].name]


def _write(arguments: argparse.Namespace, text: str) -> None:
    """During the campaign too, so that one that is stopped leaves its results."""
    if arguments.table is not None:
        arguments.table.write_text(text)


async def _run(arguments: argparse.Namespace, folder: Path) -> bool:
    """Whether no mutant failed."""
    sounds, counts, begun = sound_uploads(), Counts(), time.monotonic()
    rows = [sound.row for sound in sounds]
    until = None if arguments.minutes is None else begun + 60.0 * arguments.minutes
    numbers = takewhile(lambda _: until is None or time.monotonic() < until, _numbers(arguments, sounds))
    command = f"python -m tests.mutants --count {arguments.count} --seed {arguments.seed}"
    with running_pools() as pools:
        async for made, verdict in campaign(numbers, arguments.seed, sounds, folder, pools, arguments.parallel):
            counts.add(made, verdict)
            if verdict.outcome == "failed" or arguments.only is not None:
                print(
                    f"{made.sound.name} ({', '.join(made.changes)}): {verdict.outcome} {verdict.detail}\n"
                    f"  python -m tests.mutants --seed {arguments.seed} --only {made.number}\n"
                    f"  {verdict.message.strip()}",
                    flush=True,
                )
            elif counts.total % 250 == 0:
                print(f"{time.strftime('%H:%M:%S')} {counts.total} mutants, {len(counts.failures)} failed", flush=True)
                _write(arguments, table_of(counts, rows, machine(), command, time.monotonic() - begun))
    text = table_of(counts, rows, machine(), command, time.monotonic() - begun)
    print(text)
    _write(arguments, text)
    return not counts.failures


def main() -> None:
    """Run it."""
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="stillhouse-mutants-"))
    sound = asyncio.run(_run(arguments, folder))
    if sound and arguments.only is None:
        shutil.rmtree(folder)
    else:
        print(f"folders of failed mutants are kept below {folder}")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
