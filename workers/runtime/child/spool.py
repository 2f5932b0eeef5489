"""Reading a child's events from the file that it appends them to."""

from pathlib import Path

from pydantic import ValidationError

from app.contracts.wire.events import CHILD_EVENT
from app.queue.ledger import Event

MOST_BYTES = 4 << 20
"""Most bytes of one read; the rest is left for the next."""


class Spool:
    """`events.jsonl` of one attempt. The child appends whole lines, and never waits for the reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Event] | None:
        """The events since the last read, None if no line was written: a heartbeat alone makes an empty list.

        The child is not trusted: a line that is not an event is skipped, and one longer than MOST_BYTES is cut.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        end = data.rfind(b"\n") + 1
        if not end and len(data) == MOST_BYTES:
            end = MOST_BYTES
        if not end:
            return None
        self._offset += end
        return [event for line in data[:end].splitlines() if (event := _parse(line)) is not None]


def _parse(line: bytes) -> Event | None:
    try:
        return CHILD_EVENT.validate_json(line)
    except ValidationError:
        return None
