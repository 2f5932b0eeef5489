"""How many requests to predict may wait in an API process, and how large their bodies may be together."""

from typing import Final

MOST_REQUESTS: Final = 1024
MOST_BYTES: Final = 256 << 20


class Budget:
    """Bodies are in the memory of the process, and in the database, until their requests are answered."""

    def __init__(self, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_requests, most_bytes
        self._requests = 0
        self._bytes = 0

    def enter(self, size: int) -> bool:
        """Count a request with a body of so many bytes; False where there is no room for it."""
        if self._requests + 1 > self._most[0] or self._bytes + size > self._most[1]:
            return False
        self._requests += 1
        self._bytes += size
        return True

    def correct(self, announced: int, size: int) -> None:
        """The body of a request has another size than was announced."""
        self._bytes += size - announced

    def leave(self, size: int) -> None:
        """A request has ended."""
        self._requests -= 1
        self._bytes -= size
