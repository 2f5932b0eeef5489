"""The steps of a write transaction, whatever carries them out.

    def steps() -> Steps[str]:
        (found,) = yield [(QUERY, {"id": …})]       locks and reads; the rows of each statement come back
        if found:
            yield Last([(INSERT, {…})], names, proof)    the last writes; the transaction is then committed
        return …

Steps that return without a Last are rolled back. They may be begun again from their start, if nothing was committed.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.reads.pipeline import Call, Rows
from app.db.reads.query import Query
from app.db.signals import announce
from app.db.transactions.commits import set_commit_check

T = TypeVar("T")


@dataclass(frozen=True)
class Last:
    """The statements before the commit; none of their rows come back."""

    calls: Sequence[Call]
    names: Sequence[str]
    """What the transaction signals."""
    proof: Callable[[], Select[Any]]
    """Makes the commit check (`app.db.transactions.commits`)."""


Steps = Generator[Sequence[Call] | Last, list[Rows], T]


async def in_session(session: AsyncSession, steps: Steps[T]) -> T:
    """Carry out the steps as a part of a session's transaction, which commits or rolls back what they did."""
    try:
        step = next(steps)
        while True:
            if isinstance(step, Last):
                await _executed(session, step.calls)
                announce(session, *step.names)
                set_commit_check(session, step.proof)
                step = steps.send([])
            else:
                step = steps.send(await _executed(session, step))
    except StopIteration as end:
        result: T = end.value
        return result


async def _executed(session: AsyncSession, calls: Sequence[Call]) -> list[Rows]:
    found: list[Rows] = []
    for statement, values in calls:
        result = await session.execute(statement.statement, values)
        found.append([statement.row(each) for each in result] if isinstance(statement, Query) else [])
    return found
