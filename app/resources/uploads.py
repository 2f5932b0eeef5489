"""Receiving an upload, one manifest and its files, into the staging directory. All are checked as early as possible.

Memory holds one chunk. On any error the staged files are deleted: an aborted upload leaves nothing on the disk.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from fastapi import Request

from app.contracts.resources.splits import MOST_FILES
from app.http.bodies import Pace, chunks, content_length
from app.http.errors import Invalid, TooLarge
from app.http.multipart import UploadParser, boundary_of
from app.http.services import Services
from app.http.strict_json import MOST_BYTES
from app.resources.formats import HEAD_BYTES, refuse_head
from app.storage.space import Reservation
from app.storage.staging import SizeLimit, Staged, StagedFile, Staging


class Manifest(Protocol):
    """What an upload's manifest says of its files."""

    @property
    def format(self) -> str:
        """The declared format."""
        ...


M = TypeVar("M", bound=Manifest)
OVERHEAD_BYTES: Final = MOST_BYTES + MOST_FILES * 65_536
"""Most bytes of an upload besides its files: manifest, boundaries, headers of parts."""


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
    formats: Collection[str],
    most_files: int,
) -> AsyncIterator[Received[M]]:
    """Read an upload. `read_manifest` runs as soon as the manifest has arrived, `check_file` for each file once all are
    complete. `formats`: those that a manifest may declare.

    Raises the errors of both, and BadRequest, NotSupported, TooLarge, TooSlow, StorageFull, ClientDisconnect, and
    Invalid for files that are empty or without a name of their own.
    """
    parser = UploadParser(boundary_of(request.headers.get("content-type")), most_files)
    most = services.settings.max_upload_bytes
    announced = content_length(request) or 0
    if announced > most + OVERHEAD_BYTES:
        raise TooLarge(
            "upload_too_large", f"expected files of at most {most} bytes, found Content-Length {announced}: send less"
        )
    with services.space.reservation(announced) as space:
        async with AsyncExitStack() as stack:
            files = _Files(stack, services.staging, most, space, formats)
            manifest = await _read(request, parser, files, services.pace, read_manifest)
            received = _by_name(parser.file_names, await files.finish(len(parser.file_names)))
            for each in received:
                with _naming(each.name, len(received)):
                    await asyncio.to_thread(check_file, manifest, each.staged.path)
            yield Received(manifest, received)


class _Files:
    """The files of an upload, of at most `limit` bytes together. They arrive one after the other; one is open.

    `formats`: those that the manifest may declare.
    """

    def __init__(
        self, stack: AsyncExitStack, staging: Staging, limit: int, space: Reservation, formats: Collection[str]
    ) -> None:
        self.formats = formats
        self._stack, self._staging, self._limit, self._space = stack, staging, SizeLimit(limit), space
        self._complete: list[Staged] = []
        self._open: StagedFile | None = None
        self._head = bytearray()

    async def write(self, number: int, piece: bytes) -> None:
        """Append to a file, which is refused by its first bytes if possible, instead of reading all of it."""
        file = await self._opened(number)
        if len(self._head) < HEAD_BYTES:
            self._head += piece[: HEAD_BYTES - len(self._head)]
            refuse_head(bytes(self._head), self.formats)
        self._space.take(len(piece))
        await file.write(piece)

    async def finish(self, count: int) -> list[Staged]:
        """All files, complete."""
        if count:
            self._complete.append(await (await self._opened(count - 1)).finish())
        return self._complete

    async def _opened(self, number: int) -> StagedFile:
        """The file of this number, after the end of those before it."""
        while self._open is None or len(self._complete) < number:
            if self._open is not None:
                self._complete.append(await self._open.finish())
            self._open, self._head = await self._stack.enter_async_context(self._staging.open(self._limit)), bytearray()
        return self._open


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
    pace: Pace,
    read_manifest: Callable[[bytes], M],
) -> M:
    manifest: list[M] = []
    async with aclosing(chunks(request, pace)) as body:
        async for chunk in body:
            parser.write(chunk)
            if parser.manifest is not None and not manifest:
                manifest.append(read_manifest(parser.manifest))
                files.formats = (manifest[0].format,)
            for number, piece in parser.taken():
                await files.write(number, piece)
    parser.finish()
    return manifest[0]
