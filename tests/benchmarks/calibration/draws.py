"""Jobs drawn from pools of networks: their verdicts by the engine's own rules, and how often each word is said."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.jobs import FIRST_SEEDS, MOST_SEEDS
from tests.benchmarks.calibration.pools import Pool
from workers.engine.evaluation.verdict.repeats import verdict_of


@dataclass(frozen=True)
class Protocol:
    """How many seeds a job trains: `first` in any case, `most` while undecided; `controls` of which it knows."""

    name: str
    first: int
    most: int
    controls: int | None = None
    """None: one for each student."""


PROTOCOLS = (
    Protocol("repeats: 1", 1, 1),
    Protocol("repeats: 3", 3, 3),
    Protocol("repeats: 5", 5, 5),
    Protocol("auto", FIRST_SEEDS, MOST_SEEDS),
    Protocol("auto, 10 controls", FIRST_SEEDS, MOST_SEEDS, 10),
    Protocol("auto, 15 controls", FIRST_SEEDS, MOST_SEEDS, 15),
)


def word(students: Pool, controls: Pool, protocol: Protocol, kind: TaskKind) -> str:
    """The verdict of a job with these networks, of which it uses as many as the protocol says."""
    first = protocol.first
    count = first
    if protocol.most > first:
        early = verdict_of(students.validation[:first], controls.validation[:first], kind)
        count = protocol.most if early.verdict == "inconclusive" else first
    known = protocol.controls or count
    return verdict_of(students.test[:count], controls.test[:known], kind).verdict


def rates(
    students: Pool, controls: Pool, protocol: Protocol, kind: TaskKind, draws: int, seed: int = 0
) -> dict[str, float]:
    """The share of each word over `draws` jobs, in percent. The same pool twice: disjoint groups of it."""
    generator = torch.Generator().manual_seed(seed)
    words: Counter[str] = Counter()
    for _ in range(draws):
        ours, theirs = _groups(students, controls, protocol, generator)
        words[word(ours, theirs, protocol, kind)] += 1
    return {name: 100.0 * count / draws for name, count in words.items()}


def any_gain(pool: Pool, protocol: Protocol, kind: TaskKind, methods: int, draws: int, seed: int = 0) -> float:
    """The share of draws, in percent, in which at least one of several useless methods has a gain; all of them are
    compared with the same controls.
    """
    generator = torch.Generator().manual_seed(seed)
    found = 0
    for _ in range(draws):
        order = torch.randperm(len(pool.test), generator=generator)
        known = protocol.controls or protocol.most
        controls = pool.take(order[:known])
        groups = order[known : known + methods * protocol.most].reshape(methods, protocol.most)
        words = {word(pool.take(group), controls, protocol, kind) for group in groups}
        found += bool(words & {"gain", "provisional_gain"})
    return 100.0 * found / draws


def _groups(students: Pool, controls: Pool, protocol: Protocol, generator: torch.Generator) -> tuple[Pool, Pool]:
    known = protocol.controls or protocol.most
    if students is controls:
        order = torch.randperm(len(students.test), generator=generator)
        return students.take(order[: protocol.most]), students.take(order[protocol.most : protocol.most + known])
    ours, theirs = (torch.randperm(len(each.test), generator=generator) for each in (students, controls))
    return students.take(ours[: protocol.most]), controls.take(theirs[:known])


def metric(pool: Pool) -> Tensor:
    """The metric of each network [N] on the test split, of values with a minus sign."""
    return pool.test.mean(dim=1)
