"""A child's events, read from its spool as they come."""

from pathlib import Path

from pydantic import ValidationError

from app.contracts.wire.events import CHILD_EVENT
from app.queue.ledger import Event

MOST_BYTES = 4 << 20
"""Most that one look takes; the rest waits for the next."""


class Spool:
    """`events.jsonl` of one attempt. The child appends whole lines and never waits for a reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Event] | None:
        """The events since the last look, None where nothing was written.

        A line that is no event is passed over, one that does not end within MOST_BYTES cut: a child is not trusted.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                piece = file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        whole = piece.rfind(b"\n") + 1
        if not whole and len(piece) == MOST_BYTES:
            whole = MOST_BYTES
        if not whole:
            return None
        self._offset += whole
        return [event for line in piece[:whole].splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> Event | None:
    try:
        return CHILD_EVENT.validate_json(line)
    except ValidationError:
        return None
