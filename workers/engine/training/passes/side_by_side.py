"""Steps of learners that do not affect each other: one after another, or at once where that is faster.

On one thread a step of a small network leaves the other processors idle, and two threads for one operation seldom
help it (`app.contracts.resolving.recipe.threads`). Two learners on a thread each do: kernels and backward passes run
without Python's lock. No bit depends on it, as each learner's operations are the same and in the same order.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Final

import torch

Step = Callable[[], None]
_TRIED: Final = 8
"""Steps from which the faster way is known: the best of each is compared, as other processes disturb single ones."""
_PERIOD: Final = 512
"""Steps after which both ways are tried again: other jobs begin and end."""


class SideBySide:
    """Runs the steps of several learners, `most` of them. To be closed."""

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._most = most
        # A new thread would run oneDNN's kernels on as many threads as there are processors, and give other bits.
        own_threads = partial(torch.set_num_threads, torch.get_num_threads())
        self._pool = ThreadPoolExecutor(most - 1, "learner", own_threads) if most > 1 else None
        self._count = 0
        self._best = {False: float("inf"), True: float("inf")}
        self.at_once = False
        """Whether the last steps ran at once."""

    def run(self, steps: Sequence[Step]) -> None:
        """Run one step of each learner. Raises what the first of those that fail raises, after all have ended."""
        assert self._pool is not None, "several may run at once"
        tried = self._count % _PERIOD
        self._count += 1
        if tried == 0:
            self._best = dict.fromkeys(self._best, float("inf"))
        self.at_once = tried % 2 == 1 if tried < 2 * _TRIED else self._best[True] < self._best[False]
        began = self._clock()
        if self.at_once:
            self._at_once(self._pool, steps)
        else:
            for step in steps:
                step()
        self._best[self.at_once] = min(self._best[self.at_once], self._clock() - began)

    def _at_once(self, pool: ThreadPoolExecutor, steps: Sequence[Step]) -> None:
        others = [pool.submit(step) for step in steps[1:]]
        try:
            steps[0]()
        finally:
            wait(others)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
