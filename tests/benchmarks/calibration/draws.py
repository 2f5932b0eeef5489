"""Jobs drawn from pools of networks: their verdicts by the engine's own rules, and how often each word is said."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.jobs import FIRST_SEEDS, MOST_SEEDS
from tests.benchmarks.calibration.pools import Pool
from workers.engine.evaluation.verdict.repeats import verdict_of
from workers.engine.jobs.runs.affordable import MOST_CONTROLS, Networks


@dataclass(frozen=True)
class Protocol:
    """How many seeds a job trains: `first` in any case, `most` students and controls while undecided."""

    name: str
    first: int
    most: Networks
    cached: int = 0
    """Controls that earlier jobs left."""

    @classmethod
    def fixed(cls, repeats: int) -> "Protocol":
        """A number that the spec names."""
        return cls(f"repeats: {repeats}", repeats, Networks(repeats, repeats))


MOST = Networks(MOST_SEEDS, MOST_CONTROLS)
PROTOCOLS = (
    *(Protocol.fixed(repeats) for repeats in (1, 3, 5, 8)),
    Protocol("auto", FIRST_SEEDS, MOST),
    Protocol("auto, 15 cached controls", FIRST_SEEDS, MOST, MOST_CONTROLS),
)


@dataclass(frozen=True)
class Job:
    """What a job says, and how many controls there are after it."""

    word: str
    controls: int


def job(students: Pool, controls: Pool, protocol: Protocol, kind: TaskKind, cached: int) -> Job:
    """A job with these networks, of which it uses as many as the protocol says, where `cached` controls are known."""
    count = known = protocol.first
    if protocol.most.students > count:
        early = verdict_of(students.validation[:count], controls.validation[:count], kind)
        if early.verdict == "inconclusive":
            count, known = protocol.most.students, protocol.most.controls
    known = max(known, cached)
    return Job(verdict_of(students.test[:count], controls.test[:known], kind).verdict, known)


def rates(
    students: Pool, controls: Pool, protocol: Protocol, kind: TaskKind, draws: int, seed: int = 0
) -> dict[str, float]:
    """The share of each word over `draws` jobs, in percent. The same pool twice: disjoint groups of it."""
    generator = torch.Generator().manual_seed(seed)
    words: Counter[str] = Counter()
    for _ in range(draws):
        ours, theirs = _groups(students, controls, protocol, generator)
        words[job(ours, theirs, protocol, kind, protocol.cached).word] += 1
    return {name: 100.0 * count / draws for name, count in words.items()}


def any_gain(pool: Pool, protocol: Protocol, kind: TaskKind, methods: int, draws: int, seed: int = 0) -> float:
    """The share of draws, in percent, in which at least one of several useless methods has a gain: jobs one after
    another on the same controls. Where the number of seeds is not fixed, a job finds those that earlier ones trained.
    """
    generator = torch.Generator().manual_seed(seed)
    found = 0
    for _ in range(draws):
        order = torch.randperm(len(pool.test), generator=generator)
        controls = pool.take(order[: protocol.most.controls])
        cached, words = protocol.cached, set()
        for k in range(methods):
            first = protocol.most.controls + k * protocol.most.students
            students = pool.take(order[first : first + protocol.most.students])
            done = job(students, controls, protocol, kind, cached)
            words.add(done.word)
            if protocol.most.students > protocol.first:
                cached = done.controls
        found += bool(words & {"gain", "provisional_gain"})
    return 100.0 * found / draws


def _groups(students: Pool, controls: Pool, protocol: Protocol, generator: torch.Generator) -> tuple[Pool, Pool]:
    ours, theirs = protocol.most.students, protocol.most.controls
    if students is controls:
        order = torch.randperm(len(students.test), generator=generator)
        return students.take(order[:ours]), students.take(order[ours : ours + theirs])
    orders = [torch.randperm(len(each.test), generator=generator) for each in (students, controls)]
    return students.take(orders[0][:ours]), controls.take(orders[1][:theirs])


def metric(pool: Pool) -> Tensor:
    """The metric of each network [N] on the test split, of values with a minus sign."""
    return pool.test.mean(dim=1)


def lowered(better: Pool, base: Pool, gain: float, seed: int = 0) -> Pool:
    """The networks of classes that are better than `base` by more than `gain`, by `gain` on the test split: as many
    right answers as that takes are made wrong, at random. The validation split is as it was.
    """
    surplus = float(metric(better).mean() - metric(base).mean()) - gain
    if surplus <= 0.0:
        raise ValueError(f"expected networks better by more than {gain}, found {surplus + gain}")
    share = surplus / float(metric(better).mean())
    wrong = torch.rand(better.test.shape, generator=torch.Generator().manual_seed(seed)) < share
    return Pool(better.validation, better.test.masked_fill(wrong, 0.0))
