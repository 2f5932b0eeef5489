"""Answers that are the same for everyone: made once, compressed once, and not sent to who has them."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import Request
from starlette.responses import Response

from app.http.ranges import not_modified

_GZIP: Final = re.compile(r"(?:x-)?gzip\s*(?:;\s*q=(?:1(?:\.0*)?|0\.0*[1-9]\d*)\s*)?", re.IGNORECASE | re.ASCII)
"""An element of Accept-Encoding by which gzip is accepted (RFC 9110, 12.5.3): a weight of 0 refuses it."""


@dataclass(frozen=True)
class MadeOnce:
    """A text as it is sent. Its entity tag is the digest of its bytes; compressed, it has a tag of its own."""

    plain: bytes
    compressed: bytes
    digest: str
    media_type: str

    @classmethod
    def of(cls, text: str, media_type: str) -> Self:
        """The answer with this text."""
        plain = text.encode()
        return cls(plain, gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest(), media_type)

    def answer(self, request: Request, headers: Mapping[str, str] | None = None) -> Response:
        """The response to GET or HEAD: 304 where the client has these bytes, by If-None-Match."""
        is_compressed = any(_GZIP.fullmatch(each.strip()) for each in _elements(request, "accept-encoding"))
        tag = f"{self.digest}-gzip" if is_compressed else self.digest
        sent = {"ETag": f'"{tag}"', "Vary": "Accept-Encoding", "Cache-Control": "no-cache", **(headers or {})}
        if not_modified(request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers=sent)
        if is_compressed:
            return Response(self.compressed, headers={**sent, "Content-Encoding": "gzip"}, media_type=self.media_type)
        return Response(self.plain, headers=sent, media_type=self.media_type)


def _elements(request: Request, header: str) -> list[str]:
    return ",".join(request.headers.getlist(header)).split(",")
