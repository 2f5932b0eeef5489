"""A push parser for uploads: one part `manifest`, one or several parts `file`, in any order.

It receives the chunks of a request and never holds more of the files than one chunk. Built on python-multipart's
`MultipartParser`, which keeps the state.
"""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.http.errors import BadRequest, NotSupported, TooLarge
from app.http.strict_json import MOST_BYTES

PARTS = ("manifest", "file")
_MOST_HEADERS = 16
_LONGEST_HEADER = 4096
_LONGEST_BOUNDARY = 200
_LONGEST_NAME = 200


def boundary_of(content_type: str | None) -> bytes:
    """The boundary that a Content-Type header names; raises NotSupported or BadRequest."""
    kind, options = parse_options_header(content_type)
    if kind == b"application/json":
        raise NotSupported(
            "multipart_expected",
            "expected multipart/form-data with the parts `manifest` and `file`: curl -F manifest=… -F file=@…",
        )
    if kind != b"multipart/form-data":
        raise NotSupported(
            "multipart_expected",
            "expected multipart/form-data with the parts `manifest` and `file`: curl -F manifest=… -F file=@…",
        )
    boundary: bytes = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise BadRequest(
            "bad_multipart",
            f"expected a boundary of 1 to {_LONGEST_BOUNDARY} characters in Content-Type: leave it out",
        )
    return boundary


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""


class UploadParser:
    """Call `write` with each chunk, `taken` for the files' bytes in it, and `finish` at the end.

    `manifest` is None until its part has ended, so that it can be checked while files are still being received.
    `file_names`: those of the files that have begun, in their order; at most `most_files`.
    """

    def __init__(self, boundary: bytes, most_files: int = 1) -> None:
        self.manifest: bytes | None = None
        self.file_names: list[str] = []
        self._most_files = most_files
        self._manifest = bytearray()
        self._pending: list[tuple[int, bytes]] = []
        self._seen: set[str] = set()
        self._part = _Part()
        self._header = (bytearray(), bytearray())
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=_MOST_HEADERS,
            max_header_size=_LONGEST_HEADER,
        )

    def write(self, chunk: bytes) -> None:
        """The next bytes of the body; raises BadRequest or TooLarge."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadRequest("bad_multipart", "the body is not valid multipart/form-data: curl -F writes it") from None

    def taken(self) -> list[tuple[int, bytes]]:
        """(the number of a file, bytes of it) since the last call."""
        pending, self._pending = self._pending, []
        return pending

    def finish(self) -> None:
        """Call it at the end of the body; raises BadRequest if the body is incomplete."""
        if not self._ended:
            raise BadRequest("truncated_body", "the body ended before its last boundary: send it again completely")
        missing = [name for name in PARTS if name not in self._seen]
        if missing:
            raise BadRequest(
                "missing_part", f"expected the parts `manifest` and `file`, `{missing[0]}` is missing: add it"
            )

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in PARTS:
            raise BadRequest(
                "unexpected_part", "expected only the parts `manifest` and `file`, found another: leave it out"
            )
        if name == "manifest" and name in self._seen:
            raise BadRequest("doubled_part", f"the part `{name}` occurs twice: send it once")
        self._seen.add(name)
        self._part.name = name
        if name == "file":
            self._begin_file(_plain(options.get(b"filename", b"")))

    def _begin_file(self, name: str) -> None:
        if len(self.file_names) == self._most_files:
            if self._most_files == 1:
                raise BadRequest("doubled_part", "the part `file` occurs twice: send it once, a model is one file")
            detail = (
                f"expected at most {self._most_files} parts `file`, found more: join files, or send several datasets"
            )
            raise BadRequest("too_many_files", detail)
        self.file_names.append(name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == "file":
            self._pending.append((len(self.file_names) - 1, data[start:end]))
            return
        self._manifest += data[start:end]
        if len(self._manifest) > MOST_BYTES:
            raise TooLarge("manifest_too_large", f"a manifest may have at most {MOST_BYTES} bytes: shorten it")

    def _on_part_end(self) -> None:
        if self._part.name == "manifest":
            self.manifest = bytes(self._manifest)

    def _on_end(self) -> None:
        self._ended = True


def _plain(name: bytes) -> str:
    """A client's file name as a label: its last component, printable and short. It is never used as a path."""
    text = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in text if c.isprintable())[:_LONGEST_NAME]
