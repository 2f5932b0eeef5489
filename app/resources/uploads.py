"""Receiving an upload, one manifest and its files, into the staging directory. All are checked as early as possible.

Memory holds one chunk. On any error the staged files are deleted: an aborted upload leaves nothing on the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fastapi import Request

from app.contracts.resources.splits import MOST_FILES
from app.http.bodies import chunks, content_length
from app.http.errors import Invalid, TooLarge
from app.http.multipart import UploadParser, boundary_of
from app.http.services import Services
from app.http.strict_json import MOST_BYTES
from app.resources.formats import HEAD_BYTES, refuse_head
from app.storage.staging import SizeLimit, Staged, StagedFile, Staging


class Manifest(Protocol):
    """What an upload's manifest says of its files."""

    @property
    def format(self) -> str:
        """The declared format."""
        ...


M = TypeVar("M", bound=Manifest)
_OVERHEAD = MOST_BYTES + MOST_FILES * 65_536
"""Bytes of an upload besides its files: manifest, boundaries, headers of parts."""


@dataclass(frozen=True)
class ReceivedFile:
    """A file of an upload in the staging directory. `name`: as the client calls it; it may be empty."""

    name: str
    staged: Staged


@dataclass(frozen=True)
class Received(Generic[M]):
    """A complete upload. `files`: by the order of their names, each of another name where there are several."""

    manifest: M
    files: tuple[ReceivedFile, ...]


@asynccontextmanager
async def receive(
    services: Services,
    request: Request,
    read_manifest: Callable[[bytes], M],
    check_file: Callable[[M, Path], None],
    most_files: int,
) -> AsyncIterator[Received[M]]:
    """Read an upload. `read_manifest` runs as soon as the manifest has arrived, `check_file` for each file once all are
    complete.

    Raises the errors of both, and BadRequest, NotSupported, TooLarge, TooSlow, StorageFull, ClientDisconnect, and
    Invalid for files that are empty or without a name of their own.
    """
    parser = UploadParser(boundary_of(request.headers.get("content-type")), most_files)
    most = services.settings.max_upload_bytes
    announced = content_length(request) or 0
    if announced > most + _OVERHEAD:
        raise TooLarge(
            "upload_too_large", f"expected files of at most {most} bytes, found Content-Length {announced}: send less"
        )
    with services.space.reserve(announced):
        async with AsyncExitStack() as stack:
            files = _Files(stack, services.staging, most)
            require_space = None if announced else services.space.require_space
            manifest = await _read(request, parser, files, services.settings.body_seconds, read_manifest, require_space)
            received = _by_name(parser.file_names, await files.finish(len(parser.file_names)))
            for each in received:
                with _naming(each.name, len(received)):
                    await asyncio.to_thread(check_file, manifest, each.staged.path)
            yield Received(manifest, received)


class _Files:
    """The files of an upload, opened as they arrive, of at most `limit` bytes together."""

    def __init__(self, stack: AsyncExitStack, staging: Staging, limit: int) -> None:
        self._stack, self._staging, self._limit = stack, staging, SizeLimit(limit)
        self._open: list[StagedFile] = []
        self._heads: list[bytearray] = []

    async def write(self, number: int, piece: bytes, declared: str | None) -> None:
        """Append to a file, which is refused by its first bytes if possible, instead of reading all of it."""
        await self._open_up_to(number + 1)
        head = self._heads[number]
        if len(head) < HEAD_BYTES:
            head += piece[: HEAD_BYTES - len(head)]
            refuse_head(bytes(head), declared)
        await self._open[number].write(piece)

    async def finish(self, count: int) -> list[Staged]:
        """All files, complete."""
        await self._open_up_to(count)
        return [await file.finish() for file in self._open]

    async def _open_up_to(self, count: int) -> None:
        while len(self._open) < count:
            self._open.append(await self._stack.enter_async_context(self._staging.open(self._limit)))
            self._heads.append(bytearray())


def _by_name(names: Sequence[str], staged: Sequence[Staged]) -> tuple[ReceivedFile, ...]:
    """Raises Invalid `empty_file`, `unnamed_file`, `doubled_file`."""
    files = tuple(ReceivedFile(*each) for each in sorted(zip(names, staged, strict=True), key=lambda each: each[0]))
    for file in files:
        if file.staged.bytes == 0:
            which = f"the file `{file.name}`" if len(files) > 1 else "the part `file`"
            raise Invalid.at("", "empty_file", f"{which} is empty: with curl write file=@path")
    if len(files) > 1 and not files[0].name:
        detail = "expected a file name for each of several parts `file`, found one without: with curl write file=@path"
        raise Invalid.at("", "unnamed_file", detail)
    doubled = next((one.name for one, other in pairwise(files) if one.name == other.name), None)
    if doubled is not None:
        detail = f"expected files of different names, found `{doubled}` twice: rename one, rows follow the files' names"
        raise Invalid.at("", "doubled_file", detail)
    return files


@contextmanager
def _naming(name: str, files: int) -> Iterator[None]:
    """Problems of one of several files, with its name in front."""
    try:
        yield
    except Invalid as error:
        if files == 1:
            raise
        named = [p.model_copy(update={"detail": f"in the file `{name}`: {p.detail}"}) for p in error.problems or ()]
        raise Invalid(named, error.code) from None


async def _read(
    request: Request,
    parser: UploadParser,
    files: _Files,
    idle_seconds: float,
    read_manifest: Callable[[bytes], M],
    require_space: Callable[[], None] | None,
) -> M:
    manifest: list[M] = []
    async with aclosing(chunks(request, idle_seconds)) as body:
        async for chunk in body:
            parser.write(chunk)
            if parser.manifest is not None and not manifest:
                manifest.append(read_manifest(parser.manifest))
            for number, piece in parser.taken():
                if require_space is not None:
                    require_space()
                await files.write(number, piece, manifest[0].format if manifest else None)
    parser.finish()
    return manifest[0]
