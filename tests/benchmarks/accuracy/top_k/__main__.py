"""Students of stored top-k targets beside students of all scores, and of top-k targets that are normalised again.

    python -m tests.benchmarks.accuracy.top_k     writes TABLE.md beside this file; four minutes of a free core

The targets and the loss are those of the engine: outputs are packed and expanded as the store does it. No test depends
on the table.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor
from torch.nn.functional import cross_entropy

from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.distillation import LogitTerm
from tests.benchmarks.accuracy.tables import sections
from tests.benchmarks.accuracy.top_k.classes import INPUTS, Mlps, Problem, Size, train
from tests.benchmarks.figures import machine
from workers.engine.data.rows.columns import Rows
from workers.engine.data.top_k.packing import TopKPacking
from workers.engine.data.top_k.rows import TopK
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import TermInputs

TABLE = Path(__file__).parent / "TABLE.md"
SIZES = (Size(100, 10, 4000, 1000, 64, 1200), Size(1000, 40, 8000, 500, 32, None))
CPU = torch.device("cpu")
TERM: TypeAdapter[LogitTerm] = TypeAdapter(Annotated[LogitTerm, Field(discriminator="method")])
OTHERS = ("dkd", "dist", "reverse_kl", "jsd")


@dataclass(frozen=True)
class Targets:
    """How a teacher's scores are kept: all (k 0), the k largest normalised again, or as the store packs them."""

    k: int = 0
    draws: int = 0
    renormalised: bool = False

    def __str__(self) -> str:
        if self.k == 0:
            return "all scores"
        if self.renormalised:
            return f"{self.k} largest, normalised again"
        return f"{self.k} largest, " + (f"{self.draws} drawn" if self.draws else "rest spread evenly")

    def kept(self, logits: Tensor) -> Tensor | TopK:
        """What is kept of the logits [n, C]."""
        if self.k == 0:
            return logits
        if self.renormalised:
            largest = logits.topk(self.k, dim=1)
            return torch.full_like(logits, -1e4).scatter(1, largest.indices, largest.values)
        packing = TopKPacking(logits.shape[1], self.k, self.draws)
        numbers, indices = packing.pack(logits, 0)
        return TopK(numbers.float(), indices, packing)

    def bytes(self, classes: int) -> int:
        """Bytes of a row in float16."""
        if self.k == 0:
            return 2 * classes
        packing = TopKPacking(classes, self.k, self.draws)
        return 6 * self.k if self.renormalised else 2 * packing.numbers + 4 * packing.stored


@dataclass(frozen=True)
class Run:
    """One way to train the students. No `method`: on labels alone."""

    targets: Targets
    method: str
    temperature: float


def wanted(size: Size) -> Iterator[Run]:
    """Every run of a table, in its order."""
    yield Run(Targets(), "", 1.0)
    for temperature in (1.0, 2.0, 4.0):
        yield Run(Targets(), "kd", temperature)
        for k in (4, 16) if size.classes == 100 else (8, 16, 64):
            for targets in (Targets(k, 0, True), Targets(k), Targets(k, 8)):
                yield Run(targets, "kd", temperature)
    if size.classes == 100:
        for method in OTHERS:
            for targets in (Targets(), Targets(8, 0, True), Targets(8, 8)):
                yield Run(targets, method, 2.0)


def students(problem: Problem, run: Run, seeds: int) -> list[tuple[float, float]]:
    """(nll, accuracy) on the test rows of each student: weight 0.9 for the teacher, 0.1 for the labels."""
    networks = Mlps.of(seeds, (INPUTS, 48, problem.size.classes), seed=2)
    term = None
    if run.method:
        outputs = TeacherOutputs(run.targets.kept(problem.logits), ClassOutput(kind="class"), 1.0)
        spec = TERM.validate_python({"method": run.method, "temperature": run.temperature, "weight": 0.9})
        term = ClassSoftTargets.of(spec, run.method, TeacherEnsemble.of((outputs,), CPU), problem.labels, CPU)

    def losses(batch: Tensor) -> Tensor:
        outputs = networks(problem.x[batch])
        supervised = cross_entropy(outputs, problem.labels[batch], reduction="none")
        if term is None:
            return supervised
        soft = term.losses(TermInputs(outputs), Rows(batch, batch))
        return 0.1 * supervised + 0.9 * soft

    train(networks, len(problem.x), problem.size.steps, problem.size.batch, 2e-2, 0.15, losses)
    with torch.no_grad():
        logits = networks(problem.test_x.repeat(seeds, 1)).reshape(seeds, -1, problem.size.classes)
    return [_figures(each, problem.test_labels) for each in logits]


def _figures(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    nll = cross_entropy(logits.double(), labels)
    return float(nll), float((logits.argmax(1) == labels).double().mean())


def _mean(values: list[float], digits: int, scale: float = 1.0) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{scale * statistics.mean(values):.{digits}f} ± {scale * deviation:.{digits}f}"


def _row(run: Run, figures: list[tuple[float, float]], classes: int) -> str:
    nll, accuracy = ([each[i] for each in figures] for i in range(2))
    cells = (_mean(nll, 3), _mean(accuracy, 1, 100.0))
    if not run.method:
        return f"| labels alone | | | | {' | '.join(cells)} |"
    kept = f"{run.targets} | {run.targets.bytes(classes)}"
    return f"| {run.method} | {run.temperature:g} | {kept} | {' | '.join(cells)} |"


def section(size: Size, seeds: int) -> list[str]:
    """The table of one number of classes."""
    problem = Problem.of(size)
    nll, accuracy = _figures(problem.teacher_test, problem.test_labels)
    kept = [
        f"τ {tau:g}: " + ", ".join(f"{float(p[:, :k].sum(1).mean()):.3f} at k {k}" for k in (4, 8, 16, 64))
        for tau in (1.0, 2.0, 4.0)
        for p in [(problem.logits / tau).softmax(1).sort(1, descending=True).values]
    ]
    lines = [
        f"{size.rows} rows, {size.steps} steps. Teacher: nll {nll:.3f}, accuracy {100 * accuracy:.1f} %. Probability "
        "of the k largest,",
        f"mean over rows: {'; '.join(kept)}.",
        "",
        "| method | τ | kept of the teacher | bytes a row | nll | accuracy % |",
        "|---|---|---|---|---|---|",
    ]
    for run in wanted(size):
        lines.append(_row(run, students(problem, run, seeds), size.classes))
        print(lines[-1], f"{time.process_time():.0f} s", flush=True)
    return lines


def main() -> None:
    """Train everything, print as it goes, write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--classes", type=int, choices=[size.classes for size in SIZES], help="make this table only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    written = sections(TABLE.read_text()) if TABLE.exists() else {}
    for size in SIZES:
        if asked.classes in (None, size.classes):
            written[f"{size.classes} classes"] = "\n".join(section(size, asked.seeds))
    lines = [
        "# Students of top-k targets",
        "",
        f"{machine()}, torch {torch.__version__}; mean and standard deviation of {asked.seeds} students mlp [48];",
        "0.9 of the loss on the teacher, 0.1 on the labels; 4000 test rows; bytes in float16.",
        "`python -m tests.benchmarks.accuracy.top_k` writes this file.",
        "",
    ]
    for title, table in written.items():
        lines += [f"## {title}", "", table, ""]
    TABLE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
