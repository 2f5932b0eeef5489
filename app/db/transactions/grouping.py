"""Transactions for several callers at once: what arrives while one is under way is done by the next one, together."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Take = Callable[[], list[Item]]


class Grouping(Generic[Item, Outcome]):
    """`run(lane, take)` does what `take()` returns, in this order, in one transaction, and returns the outcomes.
    It takes when it has what others wait for too, such as a lock. Of one lane there is one transaction at a time.
    """

    def __init__(self, run: Callable[[str, Take[Item]], Awaitable[list[Outcome]]], most: int) -> None:
        self._run = run
        self._most = most
        self._waiting: dict[str, list[tuple[Item, asyncio.Future[Outcome]]]] = defaultdict(list)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def add(self, lane: str, item: Item) -> Outcome:
        """The outcome of this item, or the error of its transaction. A caller who is cancelled does not undo it."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((item, done))
        if lane not in self._running:
            self._running[lane] = asyncio.create_task(self._work(lane))
        return await done

    async def _work(self, lane: str) -> None:
        try:
            while self._waiting[lane]:
                await self._together(lane)
        finally:
            del self._running[lane], self._waiting[lane]

    async def _together(self, lane: str) -> None:
        taken: list[tuple[Item, asyncio.Future[Outcome]]] = []

        def take() -> list[Item]:
            if not taken:  # steps that begin again have the same items
                taken.extend(self._waiting[lane][: self._most])
                del self._waiting[lane][: self._most]
            return [item for item, _ in taken]

        try:
            outcomes = await self._run(lane, take)
        except Exception as error:
            take()
            for _, done in taken:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), outcome in zip(taken, outcomes, strict=True):
            if not done.done():
                done.set_result(outcome)
