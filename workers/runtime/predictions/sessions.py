"""The warm sessions of one worker: a few, the least recently used one goes first, and none is idle for long."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from app.contracts.wire.predictions import Question, SessionOrder
from app.queue.predictions.records import Answered
from workers.runtime.child.pool import ChildPool
from workers.runtime.predictions.session import Session, SessionEnded

OPEN_SECONDS = 45.0
"""How long a model may take to load, or to be exported before its first answer."""
ANSWER_SECONDS = 20.0
"""How long a warm session may take for one request."""

Key = tuple[str, str]
"""(the model that answers, the one whose rows it answers)."""


def key_of(question: Question) -> Key:
    """Questions of one key are answered by one session."""
    return question.model, question.rows_of or question.model


class _Place:
    """Where the session of one key is, or is going to be. `users`: requests that have it or wait for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.session: Session | None = None
        self.users = 0
        self.used = asyncio.get_running_loop().time()


class Sessions:
    """At most `most` at a time; a request for another model waits until one of them is not in use."""

    def __init__(self, children: ChildPool, folder: Path, most: int, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._children = children
        self._folder = folder
        self._most = most
        self._answer_seconds = answer_seconds
        self._places: OrderedDict[Key, _Place] = OrderedDict()
        self._changed = asyncio.Condition()

    async def answer(
        self, question: Question, body: bytes, seconds: float, order: Callable[[], Awaitable[SessionOrder | Answered]]
    ) -> Answered:
        """Answer a request by the session of its model, opened by `order` where there is none yet.

        Raises SessionEnded; TimeoutError where `seconds` pass before it is this request's turn; NoForkServer.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.timeout_at(deadline) as waiting, self._place(key_of(question)) as place, place.lock:
            waiting.reschedule(None)  # what follows has limits of its own
            session = place.session
            if session is None or not session.is_alive:
                await _close(place)
                place.session = None
                opened = await self._opened(order)
                if isinstance(opened, Answered):
                    return opened
                session = place.session = opened
            try:
                return await session.answer(question.format, body, self._answer_seconds)
            except SessionEnded:
                place.session = None
                raise
            finally:
                place.used = asyncio.get_running_loop().time()

    async def _opened(self, order: Callable[[], Awaitable[SessionOrder | Answered]]) -> Session | Answered:
        made = await order()
        if isinstance(made, Answered):
            return made
        return await Session.open(self._children, self._folder / uuid.uuid4().hex, made, OPEN_SECONDS)

    @asynccontextmanager
    async def _place(self, key: Key) -> AsyncIterator[_Place]:
        """The entry of a key, which is not closed during the block."""
        async with self._changed:
            while key not in self._places and len(self._places) >= self._most and not await self._close_oldest():
                await self._changed.wait()
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            place.users += 1
        try:
            yield place
        finally:
            place.users -= 1
            async with self._changed:
                if place.session is None and not place.users:
                    self._places.pop(key, None)
                self._changed.notify_all()

    async def _close_oldest(self) -> bool:
        """Close the session that was not used for the longest time; False if all are in use."""
        idle = next((key for key, place in self._places.items() if not place.users), None)
        if idle is None:
            return False
        await _close(self._places.pop(idle))
        return True

    async def close_idle(self, seconds: float) -> None:
        """Close sessions that were not used for so long."""
        now = asyncio.get_running_loop().time()
        async with self._changed:
            for key, place in list(self._places.items()):
                if not place.users and now - place.used >= seconds:
                    await _close(self._places.pop(key))
            self._changed.notify_all()

    async def close(self) -> None:
        """Close all of them."""
        while self._places:
            await _close(self._places.popitem()[1])


async def _close(place: _Place) -> None:
    if place.session is not None:
        await place.session.close()
