"""Which connections are admitted, which are closed for them, and what is left for probes."""

import pytest

from app.cli.connections.pools import SPARES, Connection, Connections
from app.http.limits import address_block


class _Peer:
    def __init__(self) -> None:
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def _open(connections: Connections, descriptor: int, host: str = "10.0.0.1", *, idle: bool) -> _Peer:
    connection = connections.admit(descriptor, host)
    assert isinstance(connection, Connection)
    connection.peer = peer = _Peer()
    connections.settle(connection, idle=idle)
    return peer


def test_beyond_a_cap_the_longest_idle_connection_is_closed_for_a_new_one() -> None:
    connections = Connections(3, 3)
    first, second, third = (_open(connections, number, idle=True) for number in (1, 2, 3))
    connections.settle(connections.at(1), idle=False)
    connections.settle(connections.at(1), idle=True)
    _open(connections, 4, idle=True)
    assert (first.evicted, second.evicted, third.evicted) == (False, True, False)


def test_a_connection_with_a_request_in_progress_is_never_closed_for_another() -> None:
    connections = Connections(2, 2)
    busy = [_open(connections, number, idle=False) for number in (1, 2)]
    spare = connections.admit(3, "10.0.0.2")
    assert spare is not None
    assert spare.spare
    assert not any(peer.evicted for peer in busy)


def test_an_address_at_its_share_leaves_room_for_other_addresses() -> None:
    connections = Connections(4, 2)
    hostile = [_open(connections, number, "10.0.0.1", idle=True) for number in range(2)]
    hostile.append(_open(connections, 2, "10.0.0.1", idle=True))
    honest = [_open(connections, number, "10.0.0.2", idle=True) for number in (10, 11)]
    assert [peer.evicted for peer in hostile] == [True, False, False]
    assert not any(peer.evicted for peer in honest)


def test_beyond_the_spare_ones_nothing_is_admitted_until_one_closes() -> None:
    connections = Connections(1, 1)
    _open(connections, 0, idle=False)
    for number in range(1, SPARES + 1):
        _open(connections, number, idle=False)
    assert connections.admit(99, "10.0.0.1") is None
    connections.closed(0)
    again = connections.admit(99, "10.0.0.1")
    assert again is not None
    assert not again.spare


def test_descriptors_of_evicted_connections_count_until_they_are_closed() -> None:
    connections = Connections(SPARES, SPARES)
    for number in range(2 * SPARES):
        assert not connections.must_wait
        _open(connections, number, idle=True)
    assert connections.must_wait
    connections.closed(0)
    assert not connections.must_wait


@pytest.mark.parametrize(
    ("host", "block"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_an_address_is_what_one_machine_has(host: str, block: str) -> None:
    assert address_block(host) == block
