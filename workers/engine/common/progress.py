"""Signs of progress, by which the supervisor of a job tells slow work from work that never ends."""

from collections.abc import Callable


def _ignore() -> None:
    """Without a supervisor: in notebooks and tests."""


_listener: Callable[[], None] = _ignore


def report_progress_to(listener: Callable[[], None]) -> None:
    """From now on `moved` calls this, from any thread; it must be cheap. Loops of loaders have no object of the job, by
    which it could be passed on.
    """
    global _listener
    _listener = listener


def moved() -> None:
    """A bounded piece of work is done: a step, a block of rows, some files. Called where a stop is polled, and in long
    loops that poll none.
    """
    _listener()
