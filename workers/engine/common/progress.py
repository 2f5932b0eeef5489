"""Signs of progress, by which the supervisor of a job tells slow work from work that never ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_ALIVE_SECONDS: Final = 1.0


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


@contextmanager
def progress_while_alive() -> Iterator[None]:
    """For work whose time is limited as a whole (inspections, exports, predictions): that its process runs at all is
    progress, as its limit ends what never ends. One step of it, such as checking a graph, may take long by itself.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_ALIVE_SECONDS):
            moved()

    thread = threading.Thread(target=run, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
