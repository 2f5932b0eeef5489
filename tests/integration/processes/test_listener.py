"""Accepting without descriptors: what cannot be served is closed, and that is logged once a second."""

import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from app.cli.connections.listener import Listener
from app.cli.connections.pools import Connections


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listening socket with room for 2 connections."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    with Listener(bound, Connections(2, 2)) as listening:
        listening.listen(64)
        listening.setblocking(False)
        yield listening


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Every descriptor of the process is in use during the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield


def test_without_descriptors_connections_are_closed_and_logged_once_a_second(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    address = listener.getsockname()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(30)]
        with no_descriptor_left(), caplog.at_level(logging.WARNING):
            for _ in clients:
                with pytest.raises(ConnectionAbortedError):
                    listener.accept()
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert all(client.recv(1) == b"" for client in clients)
    assert 1 <= len(caplog.records) <= 2
    with socket.create_connection(address):
        listener.accept()[0].close()


def test_beyond_the_caps_a_connection_is_answered_503_and_closed(listener: Listener) -> None:
    with ExitStack() as stack:
        while True:
            client = stack.enter_context(socket.create_connection(listener.getsockname()))
            client.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: here\r\n\r\n")
            try:
                stack.enter_context(listener.accept()[0])
            except ConnectionAbortedError:
                break
        head, _, body = client.recv(65_536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nRetry-After: 2\r\n" in head
        assert b'"code":"too_many_connections"' in body
        assert client.recv(1) == b""
