"""`python -m workers`, which stops itself (SIGSTOP) at a chosen word to ledger or store.

A test asks for it by `ask`: the file names the place, `before-record` or `after-succeed`, and after how many such
words; the worker renames it when it has come there, and stands still with all its threads until it is continued or
killed. Each request is for one worker, the first that comes there.
"""

import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.settings import Settings
from workers.__main__ import main

HALTED: Final = "halted-"
PLACES: Final = (
    "before-claim",
    "after-claim",
    "before-begin",
    "after-begin",
    "before-record",
    "after-record",
    "before-publish",
    "after-publish",
    "before-succeed",
    "after-succeed",
)


def ask(data: Path, place: str, words: int = 0) -> None:
    """The next worker that comes to `place` for the (words + 1)th time stops there."""
    assert place in PLACES, place
    (data / place).write_text(str(words))


def halted(data: Path, place: str) -> int | None:
    """The process that stopped there, None so far."""
    found = list(data.glob(f"{HALTED}{place}-*"))
    return int(found[0].name.rpartition("-")[2]) if found else None


def _stand(data: Path, place: str, came: dict[str, int]) -> None:
    request = data / place
    try:
        words = int(request.read_text())
    except FileNotFoundError:
        return
    came[place] = came.get(place, 0) + 1
    if came[place] <= words:
        return
    try:
        request.rename(data / f"{HALTED}{place}-{os.getpid()}")
    except FileNotFoundError:
        return  # another worker was first
    os.kill(os.getpid(), signal.SIGSTOP)


def _watched(owner: type[Ledger] | type[Blobs], name: str, data: Path, came: dict[str, int]) -> None:
    original: Callable[..., Coroutine[Any, Any, Any]] = getattr(owner, name)

    async def call(*arguments: Any, **named: Any) -> Any:
        _stand(data, f"before-{name}", came)
        found = await original(*arguments, **named)
        if found is not None:
            _stand(data, f"after-{name}", came)
        return found

    setattr(owner, name, call)


if __name__ == "__main__":
    came: dict[str, int] = {}
    for name in ("claim", "begin", "record", "succeed"):
        _watched(Ledger, name, Settings().data_dir, came)
    _watched(Blobs, "publish", Settings().data_dir, came)
    main()
