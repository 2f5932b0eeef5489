"""Receiving an upload, one manifest and one file, into the staging directory. Both are checked as early as possible.

Memory holds one chunk. On any error the staged file is deleted: an aborted upload leaves nothing on the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fastapi import Request

from app.http.bodies import chunks, content_length
from app.http.errors import Invalid, TooLarge
from app.http.multipart import UploadParser, boundary_of
from app.http.services import Services
from app.http.strict_json import MOST_BYTES
from app.resources.formats import HEAD_BYTES, refuse_head
from app.storage.staging import Staged, StagedFile


class Manifest(Protocol):
    """What an upload's manifest says of its file."""

    @property
    def format(self) -> str:
        """The declared format."""
        ...


M = TypeVar("M", bound=Manifest)
_OVERHEAD = MOST_BYTES + 65_536
"""Bytes of an upload besides its file: manifest, boundaries, headers of parts."""


@dataclass(frozen=True)
class Received(Generic[M]):
    """A complete upload in the staging directory."""

    manifest: M
    staged: Staged
    file_name: str


@asynccontextmanager
async def receive(
    services: Services,
    request: Request,
    read_manifest: Callable[[bytes], M],
    check_file: Callable[[M, Path], None],
) -> AsyncIterator[Received[M]]:
    """Read an upload. `read_manifest` runs as soon as the manifest has arrived, `check_file` once the file is complete.

    Raises the errors of both, and BadRequest, NotSupported, TooLarge, TooSlow, StorageFull, ClientDisconnect.
    """
    parser = UploadParser(boundary_of(request.headers.get("content-type")))
    most = services.settings.max_upload_bytes
    announced = content_length(request) or 0
    if announced > most + _OVERHEAD:
        raise TooLarge(
            "upload_too_large", f"expected a file of at most {most} bytes, found Content-Length {announced}: send less"
        )
    with services.space.reserve(announced):
        async with services.staging.open(limit=most) as file:
            require_space = None if announced else services.space.require_space
            manifest = await _read(request, parser, file, services.settings.body_seconds, read_manifest, require_space)
            staged = await file.finish()
            if staged.bytes == 0:
                raise Invalid.at("", "empty_file", "the part `file` is empty: with curl write file=@path")
            await asyncio.to_thread(check_file, manifest, staged.path)
            yield Received(manifest, staged, parser.file_name)


async def _read(
    request: Request,
    parser: UploadParser,
    file: StagedFile,
    idle_seconds: float,
    read_manifest: Callable[[bytes], M],
    require_space: Callable[[], None] | None,
) -> M:
    manifest: list[M] = []
    head = bytearray()
    async with aclosing(chunks(request, idle_seconds)) as body:
        async for chunk in body:
            parser.write(chunk)
            if parser.manifest is not None and not manifest:
                manifest.append(read_manifest(parser.manifest))
            for piece in parser.taken():
                _check_head(head, piece, manifest[0].format if manifest else None)
                if require_space is not None:
                    require_space()
                await file.write(piece)
    parser.finish()
    return manifest[0]


def _check_head(head: bytearray, piece: bytes, declared: str | None) -> None:
    """Refuse a file by its first bytes if possible, instead of reading all of it."""
    if len(head) < HEAD_BYTES:
        head += piece[: HEAD_BYTES - len(head)]
        refuse_head(bytes(head), declared)
