"""Submissions of one key that arrive together, in one transaction."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.db.engine import Database
from app.db.reads.pipeline import Call, Rows
from app.db.signals import WORK
from app.db.transactions import Grouping, Last, Steps
from app.queue import idempotency
from app.queue.idempotency import Answer
from app.queue.keys import quotas
from app.queue.keys.quotas import KeyRevoked, Remembered, Usage
from app.queue.submission.locks import lock_inputs
from app.queue.submission.rows import NewRows, inserts

MOST: Final = 32
"""Submissions of a transaction on PostgreSQL: their inputs stay locked until its end."""


@dataclass(frozen=True)
class Keyed:
    """The Idempotency-Key of a submission, and the answer that is stored with the job."""

    key: str
    fingerprint: str
    answer: Answer


class Occupied(Exception):
    """An upload or another submission of the same transaction holds the Idempotency-Key: submit it in a session, in
    which it waits or is refused.
    """


@dataclass(frozen=True, eq=False)
class Submission:
    """A job to submit. `admits` is asked for the error of another job of a key with this usage; `refusal` is the error
    that it gets in any case. Neither matters where its Idempotency-Key has an answer already.
    """

    rows: NewRows
    admits: Callable[[Usage], Exception | None]
    keyed: Keyed | None = None
    refusal: Exception | None = None


Outcome = Answer | Exception | None
"""None: the job is submitted. An Answer: the one that was given before to the same key and content."""


class Submissions:
    """One per process."""

    def __init__(self, database: Database, remembered: Remembered) -> None:
        self._database = database
        self._remembered = remembered
        self._grouping: Grouping[Submission, Outcome] = Grouping(self._run, MOST)

    async def submit(self, key_id: str, submission: Submission) -> Answer | None:
        """The answer that was given before, or None: then the job is submitted.

        Raises KeyRevoked, UnusableInput as `Ledger.submit`, KeyReused, Occupied, what it is not admitted for, and its
        refusal.
        """
        if self._database.dialect == "sqlite":  # whose transactions are those of all callers anyway
            (outcome,) = await self._run(key_id, lambda: [submission])
        else:
            outcome = await self._grouping.add(key_id, submission)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _run(self, key_id: str, take: Callable[[], list[Submission]]) -> list[Outcome]:
        def steps() -> Steps[list[Outcome]]:
            return _steps(key_id, take(), self._remembered)

        return await self._database.transact(steps)


def _steps(key_id: str, new: Sequence[Submission], remembered: Remembered) -> Steps[list[Outcome]]:
    """The key's row is locked before any other, and Idempotency-Keys and inputs each in one order, so that no two
    transactions wait for each other. Where its usage is remembered it is read alone: it must be valid in any case.
    """
    first, again = _once_each_key(new)
    project_id = str(first[0].rows.job["project_id"])
    usage = remembered.usage(key_id)
    of_key = quotas.counted(key_id, remembered.most_waiting) if usage is None else quotas.valid(key_id)
    inputs = [each.rows.inputs for each in first]
    locked, found = yield from lock_inputs(project_id, inputs, [*of_key, *_taken(key_id, first)])
    if not found[0]:
        return [KeyRevoked() for _ in new]
    usage = usage or quotas.usage_of(found[1])
    answers = _answers(first, found[len(of_key) :])
    accepted: list[Submission] = []
    outcomes: dict[Submission, Outcome] = dict.fromkeys(again, Occupied())
    for each in first:
        outcome = answers.get(each)
        if outcome is None:
            outcome = each.admits(usage) or each.refusal or locked.unusable(each.rows.inputs)
        if outcome is None:
            accepted.append(each)
            usage = replace(usage, waiting=usage.waiting + 1)
        outcomes[each] = outcome
    remembered.keep(key_id, usage)
    if accepted:
        given_back = [each for each in first if outcomes[each] is not None and each not in answers]
        yield _last(key_id, accepted, given_back)
    return [outcomes[each] for each in new]


def _last(key_id: str, accepted: Sequence[Submission], refused: Sequence[Submission]) -> Last:
    calls = [call for each in accepted for call in inserts(each.rows)]
    calls += [idempotency.given_back(key_id, each.keyed.key, each.keyed.answer) for each in refused if each.keyed]
    return Last(calls, [WORK, *(each.rows.id for each in accepted)], accepted[0].rows.proof)


def _once_each_key(new: Sequence[Submission]) -> tuple[list[Submission], list[Submission]]:
    """Of submissions with the same Idempotency-Key the first, and the others."""
    keys: set[str] = set()
    first: list[Submission] = []
    again: list[Submission] = []
    for each in new:
        is_again = each.keyed is not None and each.keyed.key in keys
        (again if is_again else first).append(each)
        keys |= set() if each.keyed is None else {each.keyed.key}
    return first, again


def _by_key(new: Sequence[Submission]) -> list[tuple[Submission, Keyed]]:
    """Those with an Idempotency-Key, in the order of their keys: that in which every transaction takes them."""
    return sorted(((each, each.keyed) for each in new if each.keyed is not None), key=lambda pair: pair[1].key)


def _taken(key_id: str, new: Sequence[Submission]) -> Iterator[Call]:
    for each, keyed in _by_key(new):
        project_id = str(each.rows.job["project_id"])
        yield from idempotency.taken(key_id, keyed.key, keyed.fingerprint, keyed.answer, project_id)


def _answers(new: Sequence[Submission], found: Sequence[Rows]) -> dict[Submission, Outcome]:
    """The outcomes of submissions whose Idempotency-Key was not free, of the rows of `_taken`."""
    outcomes: dict[Submission, Outcome] = {}
    rows = iter(found)
    for each, keyed in _by_key(new):
        next(rows)  # of the insert
        outcome = _answer(keyed, next(rows))
        if outcome is not None:
            outcomes[each] = outcome
    return outcomes


def _answer(keyed: Keyed, found: Rows) -> Outcome:
    if not found or found[0].status is None:
        return Occupied()
    row = found[0]
    if row.location == keyed.answer.location:
        return None
    if row.fingerprint != keyed.fingerprint:
        return idempotency.KeyReused()
    return Answer(row.status, row.body, row.location)
