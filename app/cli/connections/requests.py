"""Requests as RFC 9112 has them, where h11 is more lenient or leaves the decision to its user."""

from typing import Final
from urllib.parse import urlsplit

import h11

from app.http.errors import ApiError, BadRequest

MOST_HEADER_BYTES: Final = 65_536
"""Of the headers of a request together; and of the line before a chunk."""

_SCHEMES: Final = (b"http://", b"https://")
_FOUND: Final = {
    "Missing mandatory Host: header": "found no header Host",
    "Found multiple Host: headers": "found several headers Host",
    "conflicting Content-Length headers": "found headers Content-Length that differ",
    "bad Content-Length": "found a Content-Length that is no number of bytes",
    "multiple Transfer-Encoding headers": "found several headers Transfer-Encoding",
    "Only Transfer-Encoding: chunked is supported": "found another Transfer-Encoding than chunked",
    "Receive buffer too long": f"found headers, or a line of a chunk, of more than {MOST_HEADER_BYTES} bytes",
}
"""h11's messages that have none of the input, and what they mean."""
_TWO_LENGTHS: Final = "found both Content-Length and Transfer-Encoding"
_OLD_CHUNKS: Final = "found Transfer-Encoding in HTTP/1.0"
_BAD_TARGET: Final = "found a URL without a host, or with a user, in the request line"


class StrictConnection(h11.Connection):
    """h11's connection, which refuses what two servers in a row could read as two different requests, and takes a whole
    URL as the target of a request.

    `error`: that of the request that was refused last.
    """

    error: ApiError | None = None

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event. Raises RemoteProtocolError, and sets `error`."""
        try:
            event = super().next_event()
            return _strict(event) if isinstance(event, h11.Request) else event
        except h11.RemoteProtocolError as error:
            self.error = _problem(error)
            raise


def _strict(request: h11.Request) -> h11.Request:
    """RFC 9112, 6.1 and 6.3: a request with two lengths ought to be handled as an error, and one of HTTP/1.0 with a
    transfer coding must be.
    """
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise h11.RemoteProtocolError(_TWO_LENGTHS)
        if request.http_version < b"1.1":
            raise h11.RemoteProtocolError(_OLD_CHUNKS)
    if request.target[:8].lower().startswith(_SCHEMES):
        return _by_path(request)
    return request


def _by_path(request: h11.Request) -> h11.Request:
    """The request for the path of its URL. RFC 9112, 3.2.2: its host replaces that of the header Host."""
    try:
        url = urlsplit(request.target.decode("ascii"))
    except ValueError:  # brackets around what is no address
        raise h11.RemoteProtocolError(_BAD_TARGET) from None
    if not url.netloc or "@" in url.netloc:
        raise h11.RemoteProtocolError(_BAD_TARGET)
    others = [(name, value) for name, value in request.headers if name != b"host"]
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return h11.Request(
        method=request.method,
        target=target,
        headers=[(b"host", url.netloc.encode("ascii")), *others],
        http_version=request.http_version,
    )


def _problem(error: h11.RemoteProtocolError) -> ApiError:
    text = str(error)
    own = (_TWO_LENGTHS, _OLD_CHUNKS, _BAD_TARGET)
    found = text if text in own else _FOUND.get(text, "found bytes that are not one")
    return BadRequest(
        "bad_http", f"expected a request of HTTP/1.1, {found}: let an HTTP client write it, and send it again"
    )
