"""Which names the service is asked by.

A page in a browser can be led to 127.0.0.1 by a name of its own (DNS rebinding), and would then read the answers.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import BadRequest
from app.http.problems import answer
from app.settings import ANY_HOST, Settings

_ANSWERED = "localhost"
_HEADER: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+(?:%[\w.~%-]+)?)\]|(?P<name>[\w.~!$&'()*+,;=%-]*))(?::(?P<port>\d{0,5}))?",
    re.ASCII | re.IGNORECASE,
)
_LAST_PORT: Final = 65_535
_REMEMBERED = 256
"""Host headers whose decision is kept: nearly all requests have one of a few."""


class AllowedHosts:
    """Refuses requests whose Host header names none of the service's hosts.

    Addresses and localhost always pass: no foreign name leads to them. So does a request without a Host header, which
    no browser sends.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._allows = lru_cache(_REMEMBERED)(self._decide)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not self._allows(Headers(scope=scope).get("host")):
            detail = (
                "expected a host of this service in the header Host, found another: ask by its address, or set "
                "STILLHOUSE_ALLOWED_HOSTS to the names it has"
            )
            await answer(Request(scope), BadRequest("unknown_host", detail))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _decide(self, header: str | None) -> bool:
        if header is None:
            return True
        name = host_of(header)
        if name is None:
            return False
        if ANY_HOST in self._allowed or name == _ANSWERED or is_address(name) or name in self._allowed:
            return True
        return any(f"*.{parent}" in self._allowed for parent in _parents(name))


def host_of(header: str) -> str | None:
    """The name or address in a Host header, in lower case, without port, brackets and the dot of a full name; None for
    a header that is neither (RFC 9110, 7.2).
    """
    found = _HEADER.fullmatch(header)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return None
    if found["address"] is not None:
        return found["address"].lower()
    return found["name"].lower().removesuffix(".")


def is_address(name: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Those of the settings; if there are none: on a loopback address no name besides localhost, elsewhere any."""
    if settings.allowed_hosts:
        return tuple(name.strip().lower() for name in settings.allowed_hosts.split(","))
    return () if _is_loopback(settings.host) else (ANY_HOST,)


def _is_loopback(host: str) -> bool:
    return host == _ANSWERED or (is_address(host) and ipaddress.ip_address(host).is_loopback)
