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
    "A kill is a SIGKILL. Worst recovery is the longest time from a fault until the affected part worked again, as the "
    "docstring of each fault defines it: for a signal to the service until every process had ended, for cut "
    "connections the whole time of a job, for clients the larger p99 of submissions and polls."
)


def table_of(rows: Sequence[Row], machine: str, command: str) -> str:
    """The table with machine, date and command above it, and every failure below it."""
    lines = ["# Results of a fault campaign", "", f"{machine}.", f"`{command}`.", "", _LEGEND, ""]
    lines += [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(_cells(row)) for row in rows)]
    every = together(outcome for row in rows for outcome in row.outcomes)
    lines += [
        "",
        f"{every.kills} kills and {every.others} other faults in {sum(len(row.outcomes) for row in rows)} rounds.",
    ]
    failures = [text for row in rows for text in failures_of(row)]
    lines += ["", "Failures:" if failures else "No failure.", *(f"- {text}" for text in failures)]
    return "\n".join(lines) + "\n"


def write_table(path: Path, text: str) -> None:
    """Write the table, creating its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def failures_of(row: Row) -> list[str]:
    """Descriptions of the failures in the rounds of a fault."""
    found = [f"{row.fault}, {row.database}: aborted: {text}" for text in row.failed]
    found += [f"{row.fault}, {row.database}: stale: {text}" for each in row.outcomes for text in each.stale]
    counts = together(row.outcomes)
    for name in ("lost", "doubled", "stuck"):
        if count := getattr(counts, name):
            found.append(f"{row.fault}, {row.database}: {count} {name}")
    if counts.bit_exact is False:
        found.append(f"{row.fault}, {row.database}: a student differs from that of an undisturbed run")
    return found


def _cells(row: Row) -> list[str]:
    if row.needs:
        return [row.fault, row.database, f"skipped: needs {row.needs}", *[""] * (len(_HEAD) - 3)]
    total: Outcome = together(row.outcomes)
    rounds = f"{len(row.outcomes)}" + (f" and {len(row.failed)} aborted" if row.failed else "")
    exact = {True: "yes", False: "NO", None: "n/a"}[total.bit_exact]
    waited = "n/a" if total.recovery is None else f"{total.recovery:.1f} s"
    counts = (
        total.kills,
        total.others,
        total.lost,
        total.doubled,
        total.stuck,
        len(total.stale),
    )
    return [row.fault, row.database, rounds, *(str(count) for count in counts), exact, waited]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
