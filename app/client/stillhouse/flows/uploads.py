"""An upload: one POST with a manifest and files, which is sent again as a whole if its connection breaks.

The service takes an upload in one request, so a broken one begins again. It has the same Idempotency-Key: one that did
arrive is not stored twice.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import SEEK_SET
from typing import BinaryIO, Final, cast

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


def uploaded(
    kind: str, upload: Upload, retries: Retries, *, key: str | None, wait: bool, timeout: float | None, progress: bool
) -> Flow[JSON]:
    """Send an upload; with `wait`, until its inspection has ended. Raises Rejected."""
    headers = {"Idempotency-Key": key or new_key()}
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
        yield tuple((name, cast(BinaryIO, _Counted(file, bar))) for name, file in opened)


class _Counted:
    """A file whose bytes are counted as they are read. Going back, as a repeated request does, takes them back."""

    def __init__(self, file: BinaryIO, bar: Bar) -> None:
        self._file, self._bar = file, bar
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._read += len(chunk)
        self._bar.add(len(chunk))
        return chunk

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        if whence == SEEK_SET and offset == 0:
            self._bar.add(-self._read)
            self._read = 0
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
