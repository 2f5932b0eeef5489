"""From the wire to the staging disk: one manifest, one file, checked as early as can be.

Memory holds one chunk. Whatever goes wrong, the staged file is gone with the block: nothing of an upload that
broke off is visible or left on the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fastapi import Request

from app.errors import Invalid, TooLarge
from app.http.bodies import chunks, content_length
from app.http.formats import HEAD_BYTES, refuse_head
from app.http.multipart import UploadParser, boundary_of
from app.http.services import Services
from app.http.strict_json import MOST_BYTES
from app.storage.staging import Staged, StagedFile

M = TypeVar("M")
_OVERHEAD = MOST_BYTES + 65_536
"""What an upload has beside its file: manifest, boundaries, headers of parts."""


@dataclass(frozen=True)
class Received(Generic[M]):
    """A whole upload on the staging disk."""

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
    """Read an upload. `read_manifest` runs as soon as the manifest is there, `check_file` once the file is whole.

    Raises the errors of both, and BadRequest, NotSupported, TooLarge, TooSlow, StorageFull, ClientDisconnect.
    """
    parser = UploadParser(boundary_of(request.headers.get("content-type")))
    most = services.settings.max_upload_bytes
    announced = content_length(request) or 0
    if announced > most + _OVERHEAD:
        raise TooLarge("upload_too_large", f"a file may have at most {most} bytes here, found {announced} announced")
    with services.space.reserve(announced):
        async with services.staging.open(limit=most) as file:
            room = None if announced else services.space.expect_room
            manifest = await _read(request, parser, file, services.settings.body_seconds, read_manifest, room)
            staged = await file.finish()
            if staged.bytes == 0:
                raise Invalid.at("", "empty_file", "the part `file` holds no byte")
            await asyncio.to_thread(check_file, manifest, staged.path)
            yield Received(manifest, staged, parser.file_name)


async def _read(
    request: Request,
    parser: UploadParser,
    file: StagedFile,
    idle_seconds: float,
    read_manifest: Callable[[bytes], M],
    expect_room: Callable[[], None] | None,
) -> M:
    manifest: list[M] = []
    head = bytearray()
    async with aclosing(chunks(request, idle_seconds)) as body:
        async for chunk in body:
            parser.write(chunk)
            if parser.manifest is not None and not manifest:
                manifest.append(read_manifest(parser.manifest))
            for piece in parser.taken():
                _look(head, piece)
                if expect_room is not None:
                    expect_room()
                await file.write(piece)
    parser.finish()
    return manifest[0]


def _look(head: bytearray, piece: bytes) -> None:
    """Refuse by its first bytes a file that is never taken, instead of reading it to its end."""
    if len(head) < HEAD_BYTES:
        head += piece[: HEAD_BYTES - len(head)]
        refuse_head(bytes(head))
