"""Token buckets: how often something may happen, by whom."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 10_000


class Buckets:
    """A bucket of `burst` tokens for each name, filled at `rate` tokens a second.

    Kept in this process only. Of more than 10,000 names the one not seen for longest is forgotten; its bucket counts as
    full, though it is not where 10,000 others come before it has filled. The formula is the virtual scheduling of GCRA
    (ITU-T I.371): one number a name, when its bucket is full again.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = 1.0 / rate
        self._burst = burst
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str, patience: float = 0.0) -> float:
        """Take a token; the seconds until it may be used, 0 while the bucket has some.

        A time longer than `patience` means that none was taken, and how long it is until one could be.
        """
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now) + self._seconds
        wait = max(0.0, full_at - now - self._burst * self._seconds)
        if wait <= patience:
            self._full_at[name] = full_at
            self._full_at.move_to_end(name)
            if len(self._full_at) > _REMEMBERED:
                self._full_at.popitem(last=False)
        return wait


def address_block(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 address, of which one machine has all."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
