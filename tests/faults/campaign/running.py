"""Runs rounds one after another, each in its own folder and database, which are removed if it passes."""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.databases import fresh_postgresql, fresh_sqlite
from tests.faults.campaign.outcome import Fault, Needs, Outcome, Row

Say = Callable[[str], None]


class Campaign:
    """Runs faults and gathers rows. `server` is a PostgreSQL server's host, None for none."""

    def __init__(self, faults: Sequence[Fault], folder: Path, server: str | None, say: Say) -> None:
        self._folder = folder
        self._server = server
        self._say = say
        self._pairs = [(fault, Row(fault.name, database)) for fault in faults for database in fault.databases]

    @property
    def seen(self) -> list[Row]:
        """The rows that have results so far, in the order of the faults."""
        return [row for _, row in self._pairs if row.outcomes or row.failed or row.needs]

    def rounds(self, count: int, first_seed: int, until: float | None = None) -> Iterator[None]:
        """Every fault once, then every fault again: a campaign that is cut short has seen all of them. Comes back
        after each.

        `until` is a moment of time.monotonic after which no further round begins.
        """
        for seed in range(first_seed, first_seed + count):
            for fault, row in self._pairs:
                if until is not None and time.monotonic() > until:
                    return
                if not row.needs:
                    self._round(fault, row, seed)
                    yield

    def _round(self, fault: Fault, row: Row, seed: int) -> None:
        began, where = time.monotonic(), f"{fault.name}, {row.database}, seed {seed}"
        folder = self._folder / f"{fault.name.replace(' ', '-').replace(':', '')}-{row.database}-{seed}"
        folder.mkdir(parents=True)
        try:
            with self._database(row.database, folder) as url:
                outcome = fault.inject(seed, folder, url)
        except Needs as lack:
            row.needs = str(lack)
            self._say(f"{where}: skipped: needs {lack}")
            return
        except Exception as error:  # a round that raises is counted, and the campaign continues
            row.failed.append(f"seed {seed}: {type(error).__name__}: {error}"[:500])
            self._say(f"{where}: BROKE OFF\n{traceback.format_exc()}kept: {folder}")
            return
        row.outcomes.append(outcome)
        self._say(f"{where}: {_words(outcome)} ({time.monotonic() - began:.0f} s)")
        if outcome.flawless:
            shutil.rmtree(folder, ignore_errors=True)

    def _database(self, kind: str, folder: Path) -> AbstractContextManager[str]:
        if kind == "sqlite":
            return _sqlite(folder)
        if self._server is None:
            raise Needs("a PostgreSQL server")
        return fresh_postgresql(self._server)


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield fresh_sqlite(folder)


def _words(outcome: Outcome) -> str:
    waited = "" if outcome.recovery is None else f", recovered within {outcome.recovery:.1f} s"
    if outcome.flawless:
        return f"{outcome.kills} kills, {outcome.others} other faults, nothing lost{waited}"
    return f"FLAWED: {outcome}"
