"""The campaign's table, as markdown."""

from collections.abc import Sequence
from pathlib import Path

from tests.faults.campaign.outcome import Outcome, Row, together

_HEAD = (
    "fault",
    "database",
    "rounds",
    "kills",
    "other faults",
    "lost",
    "doubled",
    "stuck",
    "stale",
    "bit-exact",
    "worst recovery",
)

_LEGEND = (
    "A kill is a SIGKILL. Worst recovery is the longest wait from a fault until what it met worked again, as each "
    "fault has it in its docstring: for a signal to the service until every process had ended, for cut connections "
    "a job's whole time, for clients the larger p99 of submissions and polls."
)


def table_of(rows: Sequence[Row], machine: str, command: str) -> str:
    """The table with machine, date and command above it, and every flaw below it."""
    lines = ["# What a campaign of faults came to", "", f"{machine}.", f"`{command}`.", "", _LEGEND, ""]
    lines += [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(_cells(row)) for row in rows)]
    every = together(outcome for row in rows for outcome in row.outcomes)
    lines += [
        "",
        f"{every.kills} kills and {every.others} other faults in {sum(len(row.outcomes) for row in rows)} rounds.",
    ]
    flaws = [words for row in rows for words in flaws_of(row)]
    lines += ["", "Flaws:" if flaws else "No flaw.", *(f"- {words}" for words in flaws)]
    return "\n".join(lines) + "\n"


def write_table(path: Path, text: str) -> None:
    """Put it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def flaws_of(row: Row) -> list[str]:
    """What went wrong in a fault's rounds, in words."""
    said = [f"{row.fault}, {row.database}: broke off: {words}" for words in row.failed]
    said += [f"{row.fault}, {row.database}: stale: {words}" for each in row.outcomes for words in each.stale]
    counts = together(row.outcomes)
    for name in ("lost", "doubled", "stuck"):
        if count := getattr(counts, name):
            said.append(f"{row.fault}, {row.database}: {count} {name}")
    if counts.bit_exact is False:
        said.append(f"{row.fault}, {row.database}: a student differs from that of an undisturbed run")
    return said


def _cells(row: Row) -> list[str]:
    if row.needs:
        return [row.fault, row.database, f"skipped: needs {row.needs}", *[""] * (len(_HEAD) - 3)]
    all_of_it: Outcome = together(row.outcomes)
    rounds = f"{len(row.outcomes)}" + (f" and {len(row.failed)} broken off" if row.failed else "")
    exact = {True: "yes", False: "NO", None: "n/a"}[all_of_it.bit_exact]
    waited = "n/a" if all_of_it.recovery is None else f"{all_of_it.recovery:.1f} s"
    counts = (
        all_of_it.kills,
        all_of_it.others,
        all_of_it.lost,
        all_of_it.doubled,
        all_of_it.stuck,
        len(all_of_it.stale),
    )
    return [row.fault, row.database, rounds, *(str(count) for count in counts), exact, waited]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
