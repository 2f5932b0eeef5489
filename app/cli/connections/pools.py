"""Which connections are open, in all and by address, and which of them may be closed to make room for others."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol

from app.http.limits import address_block

SPARES: Final = 16
"""Connections beyond the caps, for probes; and evicted ones whose descriptors may be open at once."""


class Peer(Protocol):
    """The server's side of an open connection."""

    def evict(self) -> None:
        """Close it at once."""
        ...


@dataclass(eq=False)
class Connection:
    """An accepted connection. `spare`: it is beyond a cap, and only probes are answered on it."""

    pools: tuple["Pool", ...]
    spare: bool
    peer: Peer | None = None
    evicted: bool = False


@dataclass(eq=False)
class Pool:
    """Connections that share a cap. `idle`: those that may be closed for others, the longest idle first."""

    most: int
    count: int = 0
    idle: OrderedDict[Connection, None] = field(default_factory=OrderedDict)

    @property
    def has_room(self) -> bool:
        """Whether another fits, after the longest idle one is closed if need be."""
        return self.count < self.most or bool(self.idle)


class Connections:
    """The open connections of a process: at most `most`, at most `most_of_address` of one address, and SPARES more."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._all = Pool(most)
        self._spares = Pool(SPARES)
        self._most_of_address = most_of_address
        self._addresses: dict[str, Pool] = {}
        self._open: dict[int, tuple[Connection, str]] = {}
        self._closing = 0

    @property
    def must_wait(self) -> bool:
        """True while so many evicted connections are still open that no other should be accepted."""
        return self._closing >= SPARES

    def admit(self, descriptor: int, host: str) -> Connection | None:
        """Count a new connection of `host`. None: it is beyond every cap. So is the 17th spare one of a burst: none of
        the others is known to be idle before the event loop comes round.
        """
        block = address_block(host)
        address = self._addresses.get(block) or Pool(self._most_of_address)
        connection = self._in((address, self._all), spare=False) or self._in((self._spares,), spare=True)
        if connection is None:
            return None
        if not connection.spare:
            self._addresses[block] = address
        self._open[descriptor] = (connection, block)
        return connection

    def at(self, descriptor: int) -> Connection:
        """The open connection with this descriptor."""
        return self._open[descriptor][0]

    def closed(self, descriptor: int) -> None:
        """The descriptor is closed."""
        connection, block = self._open.pop(descriptor)
        if connection.evicted:
            self._closing -= 1
        else:
            _remove(connection)
        address = self._addresses.get(block)
        if address is not None and not address.count:
            del self._addresses[block]

    def settle(self, connection: Connection, *, idle: bool) -> None:
        """Set whether a connection may be closed for another: it has no request in progress, and no answer that its
        client may still read.
        """
        if connection.evicted:
            return
        for pool in connection.pools:
            if idle:
                pool.idle.setdefault(connection)
            else:
                pool.idle.pop(connection, None)

    def _in(self, pools: tuple[Pool, ...], *, spare: bool) -> Connection | None:
        if not all(pool.has_room for pool in pools):
            return None
        for pool in pools:
            if pool.count >= pool.most:
                self._evict(next(iter(pool.idle)))
        connection = Connection(pools, spare)
        for pool in pools:
            pool.count += 1
        return connection

    def _evict(self, connection: Connection) -> None:
        assert connection.peer is not None
        _remove(connection)
        connection.evicted = True
        self._closing += 1
        connection.peer.evict()


def _remove(connection: Connection) -> None:
    for pool in connection.pools:
        pool.count -= 1
        pool.idle.pop(connection, None)
