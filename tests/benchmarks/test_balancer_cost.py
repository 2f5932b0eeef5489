"""What a step costs under each balancer beside `fixed`, for 2, 4 and 8 tasks, and beside torchjd called by hand.

A step is forward, losses, backward and balancing of a trunk 784-256-128 with a head of 10 classes for each task, on 64
rows, in one thread; all methods take turns in one run, and the processor's time is taken: others may use the machine.
By hand means the usage that torchjd documents: `mtl_backward` and `jac_to_grad`, or a scalariser and `backward` (and
an optimiser for what it learns); for gradients also with `parallel_chunk_size=1`, which needs no vmap.
"""

import ctypes
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchjd.aggregation import Aggregator
from torchjd.autojac import jac_to_grad, mtl_backward
from torchjd.scalarization import DWA, FAMO, IMTLL, STCH, UW, GeometricMean, Random, Scalarizer, Sum

from tests.benchmarks.figures import machine
from tests.engine.balancing.small_network import AGGREGATORS, METHODS, balancer_of
from workers.engine.balancing import Losses, Parameters, Shared

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
TASKS = (2, 4, 8)
ROUNDS, STEPS = 40, 4
SCALARIZERS: dict[str, Callable[[int], Scalarizer]] = {
    "fixed": lambda count: Sum(),
    "uncertainty": UW,
    "dwa": lambda count: DWA(),
    "random": lambda count: Random(),
    "geometric_mean": lambda count: GeometricMean(),
    "stch": lambda count: STCH(0.1),
    "imtl_l": IMTLL,
    "famo": FAMO,
}
Step = Callable[[], None]


@dataclass
class Students:
    """A trunk and heads, and a batch for them."""

    trunk: nn.Module
    heads: nn.ModuleList
    x: Tensor
    labels: Tensor

    @staticmethod
    def of(count: int) -> "Students":
        """For so many tasks."""
        torch.manual_seed(0)
        trunk = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        heads = nn.ModuleList(nn.Linear(128, 10) for _ in range(count))
        return Students(trunk, heads, torch.randn(64, 784), torch.randint(10, (count, 64)))

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        """(features, a loss for each task)."""
        features = self.trunk(self.x)
        return features, [cross_entropy(head(features), y) for head, y in zip(self.heads, self.labels, strict=True)]

    def forget(self) -> None:
        """No gradients."""
        self.trunk.zero_grad()
        self.heads.zero_grad()


def ours(students: Students, method: str) -> Step:
    """As the loop calls a balancer."""
    count = len(students.heads)
    balancer = balancer_of(method, [1.0] * count)
    present = tuple(range(count))
    shared = Shared(tuple(students.trunk.parameters()), present)
    parameters = Parameters((shared,), tuple(tuple(head.parameters()) for head in students.heads))

    def again() -> Tensor:
        with torch.no_grad():
            return torch.stack(students.losses()[1])

    def step() -> None:
        students.forget()
        balancer.begin_step(0)
        balancer.backward(Losses.of(present, students.losses()[1]), parameters)
        balancer.finish(present, parameters, 0)
        balancer.after_step(again)

    return step


def gradients_by_hand(students: Students, aggregator: Aggregator, chunk: int | None) -> Step:
    """As torchjd documents it for several tasks."""

    def step() -> None:
        students.forget()
        features, losses = students.losses()
        mtl_backward(losses, features=features, parallel_chunk_size=chunk)
        jac_to_grad(students.trunk.parameters(), aggregator)

    return step


def losses_by_hand(students: Students, scalarizer: Scalarizer) -> Step:
    """As torchjd documents it for scalarisers."""
    learned = list(scalarizer.parameters()) if isinstance(scalarizer, UW | IMTLL) else []
    optimizer = torch.optim.Adam(learned) if learned else None

    def step() -> None:
        students.forget()
        torch.autograd.backward(scalarizer(torch.stack(students.losses()[1])))
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        if isinstance(scalarizer, FAMO):
            with torch.no_grad():
                scalarizer.update(torch.stack(students.losses()[1]))

    return step


def variants(count: int) -> dict[tuple[str, str], Step]:
    """Every step to be timed, by (method, whose)."""
    students = Students.of(count)
    found: dict[tuple[str, str], Step] = {}
    for method in METHODS:
        found[method, "ours"] = ours(students, method)
        if method in SCALARIZERS:
            found[method, "by hand"] = losses_by_hand(students, SCALARIZERS[method](count))
        if method in AGGREGATORS:
            found[method, "by hand"] = gradients_by_hand(students, AGGREGATORS[method](), None)
            found[method, "chunk 1"] = gradients_by_hand(students, AGGREGATORS[method](), 1)
    return found


def keep_freed_memory() -> None:
    """Keep large freed blocks, which glibc would hand back and fault in anew, by an order of frees that no method
    answers for.
    """
    if sys.platform == "linux":
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, 1 << 30)


def timed(steps: dict[tuple[str, str], Step]) -> dict[tuple[str, str], list[float]]:
    """Seconds of a step of each in every round. Methods take turns in another order each time, as do the ways to call
    one, which come right after each other: what was before a step changes its cost by some percent.
    """
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    methods, shuffled = list(METHODS), random.Random(0)
    for turn in range(ROUNDS + 1):
        shuffled.shuffle(methods)
        for method in methods:
            ways = [name for name in steps if name[0] == method]
            shuffled.shuffle(ways)
            for name in ways:
                step = steps[name]
                step()  # untimed: caches and the allocator are as the method before left them
                began = time.process_time()
                for _ in range(STEPS):
                    step()
                if turn:  # the first one warms up
                    seconds[name].append((time.process_time() - began) / STEPS)
    return seconds


def ratio(one: list[float], other: list[float]) -> float:
    """The median over the rounds: a round that others disturbed counts as one."""
    return median(a / b for a, b in zip(one, other, strict=True))


def test_the_cost_of_a_step_under_each_balancer() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        found = {count: timed(variants(count)) for count in TASKS}
    finally:
        torch.set_num_threads(threads)
    print(f"\nA step under each balancer, medians of {ROUNDS} rounds of {STEPS} steps each\n  {machine()}")
    print("  relative to `fixed`, by the number of tasks; in brackets our time over torchjd's by hand")
    print(f"  {'':<16}" + "".join(f"{f'{count} tasks':>10}{'by hand':>10}{'chunk 1':>10}" for count in TASKS))
    for method in METHODS:
        cells = ""
        for count in TASKS:
            times = found[count]
            own = times[method, "ours"]
            cells += f"{ratio(own, times['fixed', 'ours']):>10.2f}"
            for whose in ("by hand", "chunk 1"):
                other = times.get((method, whose))
                cells += f"{f'({ratio(own, other):.2f})' if other else '':>10}"
        print(f"  {method:<16}{cells}")
    fixed = ", ".join(f"{median(found[count]['fixed', 'ours']) * 1000:.2f} ms for {count} tasks" for count in TASKS)
    print(f"  a step of `fixed`: {fixed}")
