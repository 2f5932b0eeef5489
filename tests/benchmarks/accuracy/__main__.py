"""The accuracy table: every method on the 5000 MNIST digits, fixed splits, several seeds, equal optimiser steps.

    make accuracy              writes tests/benchmarks/accuracy/TABLE.md; a quarter of an hour on two cores

The table has the results with machine and date; no test depends on it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from tests.benchmarks.accuracy.catalogue import FEW_LABELS, STUDENTS, WIDE, Run, runs
from tests.benchmarks.accuracy.tables import sections
from tests.benchmarks.accuracy.workspace import Workspace, scored
from tests.benchmarks.figures import machine

SECTIONS = (*STUDENTS, WIDE, FEW_LABELS)
TABLE = Path(__file__).parent / "TABLE.md"


def _results(wanted: Sequence[Run], processes: int) -> Iterator[tuple[Run, float]]:
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(scored, wanted)


def _row(name: str, values: Sequence[float], control: Sequence[float] | None) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    gain = f"{100 * (statistics.mean(values) - statistics.mean(control)):+.2f}" if control is not None else ""
    each = " ".join(f"{100 * value:.1f}" for value in values)
    return f"| {name} | {100 * statistics.mean(values):.2f} | {100 * spread:.2f} | {gain} | {each} |"


def _table(found: dict[tuple[str, str], list[float]], student: str) -> list[str]:
    control = found[student, "control"]
    rows = ["| method | mean % | sd over seeds | difference to control | each seed |", "|---|---|---|---|---|"]
    for (of, method), values in found.items():
        if of == student:
            rows.append(_row(method, values, None if method == "control" else control))
    return rows


def main() -> None:
    """Train everything (or one section), print as it goes, write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--section", choices=SECTIONS, help="train only this section; the others stay unchanged")
    asked = parser.parse_args()
    began, found = time.monotonic(), dict[tuple[str, str], list[float]]()
    chosen = [asked.section] if asked.section else list(SECTIONS)
    with tempfile.TemporaryDirectory(prefix="stillhouse-accuracy-") as folder:
        workspace = Workspace.created(Path(folder))
        wanted = [run for run in runs(asked.seeds) if run.student in chosen]
        for done, (run, accuracy) in enumerate(_results(wanted, asked.processes), start=1):
            found.setdefault((run.student, run.method), []).append(accuracy)
            print(
                f"{done}/{len(wanted)}  {run.student:<22} {run.method:<28} seed {run.seed}  {accuracy:.4f}", flush=True
            )
    written = sections(TABLE.read_text()) if TABLE.exists() else {}
    for section in chosen:
        heading = (
            f"{machine()}, torch {torch.__version__}; teacher: {workspace.teacher_parameters:,} parameters, "
            f"{100 * workspace.teacher_accuracy:.2f} % on the test rows."
        )
        written[section] = "\n".join([heading, "", *_table(found, section)])
    lines = [
        "# Accuracy on the 5000 MNIST digits",
        "",
        f"{asked.seeds} seeds; 4000 rows train, 250 select the epoch, 750 test. Student and control take the same",
        "optimiser steps. `make accuracy` writes this file.",
        "",
    ]
    for section in SECTIONS:
        lines += [f"## {section}", "", written[section], ""]
    TABLE.write_text("\n".join(lines))
    print(f"{TABLE} after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
