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
from workers.runtime.predictions.session import Session, SessionEnded, SessionSilent

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
    """Where the session of one key is, or is going to be. `users`: requests that have it or wait for it; `leaving`: it
    admits no more, and is closed after them.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.session: Session | None = None
        self.users = 0
        self.leaving = False
        self.opened = self.used = asyncio.get_running_loop().time()


class Sessions:
    """At most `most` at a time. Requests for further models take turns: where all sessions are in use, the one that was
    opened first admits no more, so that a model that is asked all the time does not keep others out.
    """

    def __init__(self, children: ChildPool, folder: Path, most: int, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._children = children
        self._folder = folder
        self._most = most
        self._answer_seconds = answer_seconds
        self._places: OrderedDict[Key, _Place] = OrderedDict()
        self._waiting: dict[Key, int] = {}
        """Requests without a place by key, the key that has waited longest first."""
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
            try:
                return await self._answered(place, question, body, order)
            except SessionSilent:
                return await self._answered(place, question, body, order)

    async def _answered(
        self, place: _Place, question: Question, body: bytes, order: Callable[[], Awaitable[SessionOrder | Answered]]
    ) -> Answered:
        """Answer a request by the session of a place, opened where there is none that lives."""
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
            place = self._places.get(key)
            if place is None or place.leaving:
                place = await self._waited_for(key)
            self._places.move_to_end(key)
            place.users += 1
        try:
            yield place
        finally:
            place.users -= 1
            async with self._changed:
                if not place.users and (place.leaving or place.session is None):
                    self._places.pop(key, None)
                    await _close(place)
                self._changed.notify_all()

    async def _waited_for(self, key: Key) -> _Place:
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            while (place := await self._opened_for(key)) is None:
                await self._changed.wait()
            return place
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
            self._changed.notify_all()

    async def _opened_for(self, key: Key) -> _Place | None:
        """The place of a key that waits; None where it is not its turn, or room is being made."""
        place = self._places.get(key)
        if place is not None:
            place.leaving = (
                place.leaving and len(self._waiting) > 1
            )  # it stays where those it was to make room for left
            return None if place.leaving else place
        if key != next(iter(self._waiting)):
            return None
        if len(self._places) >= self._most and not await self._close_oldest():
            if not any(each.leaving for each in self._places.values()):
                min(self._places.values(), key=lambda each: each.opened).leaving = True
            return None
        return self._places.setdefault(key, _Place())

    async def _close_oldest(self) -> bool:
        """Close the session that was not used for the longest time; False if all are in use."""
        idle = next((key for key, place in self._places.items() if not place.users), None)
        if idle is None:
            return False
        await _close(self._places.pop(idle))
        return True

    async def close_idle(self, seconds: float) -> None:
        """Close sessions that were not used for so long, and those whose child shows no sign of life."""
        now = asyncio.get_running_loop().time()
        async with self._changed:
            for key, place in list(self._places.items()):
                if not place.users and (now - place.used >= seconds or await _is_silent(place)):
                    await _close(self._places.pop(key))
            self._changed.notify_all()

    async def close(self) -> None:
        """Close all of them."""
        while self._places:
            await _close(self._places.popitem()[1])


async def _is_silent(place: _Place) -> bool:
    return place.session is not None and await place.session.is_silent()


async def _close(place: _Place) -> None:
    if place.session is not None:
        await place.session.close()
