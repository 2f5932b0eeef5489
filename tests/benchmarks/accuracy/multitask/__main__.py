"""The multi-task table: MultiMNIST with every balancer and sharing scheme, and with a teacher for each task.

    make multitask-accuracy    writes tests/benchmarks/accuracy/multitask/TABLE.md; 20 to 25 minutes on two cores

Nothing is decided here: the table says what came out, with machine and date.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from app.contracts.reports.report import Report
from tests.benchmarks.accuracy.multitask.catalogue import (
    ALL_LABELS,
    BATCH,
    FEW_LABELS,
    SECTIONS,
    STEPS,
    Run,
    runs,
)
from tests.benchmarks.accuracy.multitask.composer import DIGITS
from tests.benchmarks.accuracy.multitask.tables import section
from tests.benchmarks.accuracy.multitask.workspace import Workspace, reported
from tests.benchmarks.accuracy.tables import sections
from tests.benchmarks.figures import machine

TABLE = Path(__file__).parent / "TABLE.md"


def _reports(wanted: Sequence[Run], processes: int) -> Iterator[tuple[Run, Report]]:
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(reported, wanted)


def _progress(run: Run, report: Report) -> str:
    tasks = report.baselines.tasks if report.baselines is not None else {}
    tasks_text = ", ".join(
        f"{name} {task.student or 0.0:.4f} (alone {task.baseline or 0.0:.4f}, {task.verdict})"
        for name, task in tasks.items()
    )
    return f"{run.section:<36} {run.method:<28} seed {run.seed}  {tasks_text}"


def _preface(workspace: Workspace) -> str:
    environment = f"{machine()}, torch {torch.__version__}"
    teachers = "; ".join(
        f"teacher of `{each.task}`: {each.parameters:,} parameters, {100 * each.accuracy:.2f} % on the test rows"
        for each in workspace.teachers
    )
    return f"{environment}; {teachers}." if teachers else f"{environment}."


def _written(seeds: int, parts: dict[str, str]) -> str:
    lines = [
        "# Accuracy of multi-task students on MultiMNIST",
        "",
        "Two overlaid digits, one task each. Before they are composed the 5000 digits are split:",
        f"{DIGITS['train']} train, {DIGITS['validation']} select the epoch, {DIGITS['test']} test. {seeds} seeds;",
        f"every model takes {STEPS} steps of {BATCH} rows. Baselines: for each task the same trunk with one head;",
        "their parameters are the sum of both. Δm: mean relative gain, positive is better. Verdicts: one per seed.",
        "`make multitask-accuracy` writes this file.",
        "",
    ]
    for name in SECTIONS:
        lines += [f"## {name}", "", parts.get(name, "Not run yet."), ""]
    return "\n".join(lines)


def _trained(wanted: Sequence[Run], processes: int) -> dict[str, list[Report]]:
    """The reports of a section by method, printed as they arrive."""
    found: dict[str, list[Report]] = {}
    for done, (run, report) in enumerate(_reports(wanted, processes), start=1):
        found.setdefault(run.method, []).append(report)
        print(f"{done}/{len(wanted)}  {_progress(run, report)}", flush=True)
    return found


def main() -> None:
    """Train everything (or one section), print as it goes, write each section as it is done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--section", choices=SECTIONS, help="train this one alone; the others stay as they are")
    asked = parser.parse_args()
    began = time.monotonic()
    chosen = [asked.section] if asked.section else list(SECTIONS)
    with tempfile.TemporaryDirectory(prefix="stillhouse-multitask-") as folder:
        workspace = Workspace.created(Path(folder), teachers=not {ALL_LABELS, FEW_LABELS}.isdisjoint(chosen))
        for name in chosen:
            found = _trained(runs(name, asked.seeds), asked.processes)
            written = sections(TABLE.read_text()) if TABLE.exists() else {}
            written[name] = "\n".join([_preface(workspace), "", *section(name, found)])
            TABLE.write_text(_written(asked.seeds, written))
    print(f"{TABLE} after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
