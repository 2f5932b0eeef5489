"""Downloads that go on where they broke off, and are checked.

A file is written beside its target, under a name with its ETag (`stillhouse.flows.parts`), and takes the name of the
target once it is complete and its SHA-256 is the one that the service names. A download that is begun again, also by a
later process, asks for the rest by Range, if the service still has the same bytes.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx

from stillhouse.errors import ApiError, ConnectionFailed, Damaged
from stillhouse.flows.parts import UNNAMED, Part, real_target
from stillhouse.flows.sending import Attempts, Retries, attempted
from stillhouse.flows.steps import Call, Flow, Stream, close, next_piece, open_stream, sleep
from stillhouse.progress import Bar, transfer_bar

MAKING_SECONDS: Final = 60.0
"""How long the service may take to make a file that it has not yet."""
_PARTIAL: Final = 206
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")
_TAG: Final = re.compile(r'"([A-Za-z0-9]{8,128})"')


def downloaded(
    path: str, params: Mapping[str, Any], target: Path, retries: Retries, *, progress: bool = False
) -> Flow[Path]:
    """Download a file; returns where it is. Raises Unreadable, Damaged, ConnectionFailed, ApiError."""
    real = real_target(target)
    attempts, part = Attempts(retries), Part.begun(real)
    with ExitStack() as stack:
        bar = stack.enter_context(transfer_bar("downloading", None, shown=progress))
        stack.callback(lambda: part.close() if part else None)
        while True:
            size = part.size if part else 0
            try:
                stream, part = yield from _opened(path, params, real, part, retries)
                yield from _received(stream, part, bar)
                _finish(stream.response, part)
                return target
            except httpx.TransportError as error:
                if part and part.size > size:
                    attempts.succeeded()
                pause = attempts.pause()
                if pause is None:
                    raise ConnectionFailed(
                        f"expected all of {target.name}, found a connection that broke again and again: download it "
                        "again, which goes on where it stopped"
                    ) from error
            yield from sleep(pause)


def _opened(
    path: str, params: Mapping[str, Any], target: Path, part: Part | None, retries: Retries
) -> Flow[tuple[Stream, Part]]:
    """The rest of a part, or a file from its beginning."""
    headers = {"Accept-Encoding": "identity"}
    if part is not None and part.size:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{part.tag}"'}
    call = Call("GET", path, params, headers, patience=MAKING_SECONDS)
    try:
        stream: Stream = yield from attempted(
            call, retries, lambda call: open_stream(call, "bytes"), lambda stream: stream.response
        )
    except ApiError as error:
        if part is None or error.code != "range_not_satisfiable":
            raise
        part.drop()  # it is as long as the file, or longer: begin again
        return (yield from _opened(path, params, target, None, retries))
    if stream.response.status_code == _PARTIAL and part is not None:
        return stream, part
    if part is not None:
        part.drop()
    found = _TAG.fullmatch(stream.response.headers.get("etag", ""))
    return stream, Part.fresh(target, found[1] if found else UNNAMED)


def _received(stream: Stream, part: Part, bar: Bar) -> Flow[None]:
    length = stream.response.headers.get("content-length")
    bar.restart(part.size, part.size + int(length) if length else None)
    while isinstance(chunk := (yield from next_piece(stream)), bytes):
        part.write(chunk)
        bar.add(len(chunk))
    yield from close(stream)


def _finish(response: httpx.Response, part: Part) -> None:
    """Check the digest, and give the file its name. Raises Damaged."""
    expected = _sha256(response)
    if expected is not None:
        found = part.sha256()
        if found != expected:
            part.drop()
            raise Damaged(
                f"expected {part.target.name} with the SHA-256 {expected}, found {found}: it was changed on its way; "
                "download it again"
            )
    part.finish()


def _sha256(response: httpx.Response) -> str | None:
    """The digest that the service names: of Repr-Digest (RFC 9530), else of the ETag; None without either."""
    found = _DIGEST.search(response.headers.get("repr-digest", ""))
    if found:
        try:
            return base64.b64decode(found[1], validate=True).hex()
        except binascii.Error:
            return None
    tag = _TAG.fullmatch(response.headers.get("etag", ""))
    return tag[1] if tag and len(tag[1]) == 64 else None
