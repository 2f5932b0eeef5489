"""An upload: one POST with a manifest and files, which is sent again as a whole if its connection breaks.

The service takes an upload in one request, so a broken one begins again. It has the same Idempotency-Key: one that did
arrive is not stored twice.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import SEEK_END, SEEK_SET
from typing import BinaryIO, Final, cast

from stillhouse.errors import Unreadable
from stillhouse.flows.resources import inspected
from stillhouse.flows.sending import Retries, fetched
from stillhouse.flows.steps import JSON, Body, Call, Flow
from stillhouse.progress import Bar, transfer_bar
from stillhouse.sources.upload import Upload
from stillhouse.specs import plain

RECEIVED_SECONDS: Final = 300.0
"""How long the service may take to store what it has received."""


def new_key() -> str:
    """An Idempotency-Key that no other request has."""
    return uuid.uuid4().hex


def key_of(said: str | None) -> str:
    """The Idempotency-Key of a request: as the caller says, else a new one. Raises Unreadable."""
    if said is None:
        return new_key()
    if not (isinstance(said, str) and said.isascii() and said.isprintable() and said.strip() == said != ""):
        raise Unreadable(
            "expected an idempotency key of printable ASCII characters, found another: choose letters and digits"
        )
    return said


def uploaded(
    kind: str, upload: Upload, retries: Retries, *, key: str | None, wait: bool, timeout: float | None, progress: bool
) -> Flow[JSON]:
    """Send an upload; with `wait`, until its inspection has ended. Raises Rejected."""
    headers = {"Idempotency-Key": key_of(key)}
    with _opened(upload, progress) as files:
        body = Body(manifest=json.dumps(plain(upload.manifest)), files=files)
        call = Call("POST", f"/v1/{kind}", headers=headers, body=body, patience=RECEIVED_SECONDS)
        # The service notices a connection that fell silent after a minute, and until then says `in_flight`.
        made = yield from fetched(call, replace(retries, count=2 * retries.count, seconds=2 * retries.seconds))
    if not wait:
        return made
    return (yield from inspected(kind, made["id"], retries, timeout))


@contextmanager
def _opened(upload: Upload, progress: bool) -> Iterator[tuple[tuple[str, BinaryIO], ...]]:
    """The files, open and counted by one bar."""
    with ExitStack() as stack:
        bar = stack.enter_context(transfer_bar("uploading", upload.bytes, shown=progress))
        opened = [(each.name, stack.enter_context(each.open())) for each in upload.files]
        yield tuple((name, cast(BinaryIO, _Counted(name, file, bar))) for name, file in opened)


class _Counted:
    """A file whose bytes are counted as they are read. Going back, as a repeated request does, takes them back.

    A request says first how long the file is: one that has another length when it is read is Unreadable.
    """

    def __init__(self, name: str, file: BinaryIO, bar: Bar) -> None:
        self._name, self._file, self._bar = name, file, bar
        self._read = 0
        self._length: int | None = None

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        if not isinstance(chunk, bytes):
            raise Unreadable(f"expected {self._name} to give bytes, found a text file: open it in the mode `rb`")
        self._read += len(chunk)
        self._check_length(ended=not chunk)
        self._bar.add(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        if whence == SEEK_SET and offset == 0:
            self._bar.add(-self._read)
            self._read = 0
        place = self._file.seek(offset, whence)
        if whence == SEEK_END and offset == 0:
            self._length = place
        return place

    def _check_length(self, *, ended: bool) -> None:
        if self._length is None:
            return
        if self._read > self._length or (ended and self._read < self._length):
            raise Unreadable(
                f"expected {self._name} to keep its {self._length:,} bytes, found that it changed while it was sent: "
                "upload it again once no process writes it"
            )

    def tell(self) -> int:
        return self._file.tell()
