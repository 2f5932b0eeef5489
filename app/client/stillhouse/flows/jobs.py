"""What is particular to jobs, and to what models answer."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from stillhouse.errors import Unreadable
from stillhouse.flows.resources import given
from stillhouse.flows.sending import Retries, fetched, request
from stillhouse.flows.steps import JSON, Body, Call, Flow
from stillhouse.flows.uploads import key_of
from stillhouse.sources.converting import expanded, reading
from stillhouse.sources.datasets import is_frame
from stillhouse.sources.inference import is_missing
from stillhouse.specs import plain

ANSWER_SECONDS: Final = 60.0
"""How long a model may take to answer: its first answer also loads it."""
_ROWS: Final[Mapping[str, str]] = {
    ".json": "application/json", ".npz": "application/x-npz", ".csv": "text/csv", ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson", ".tar": "application/x-tar", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp", ".wav": "audio/wav", ".flac": "audio/flac",
    ".ogg": "audio/ogg", ".mp3": "audio/mpeg",
}  # fmt: skip


def posted(path: str, body: Any, retries: Retries, key: str | None, **params: Any) -> Flow[JSON]:
    """A POST that makes something, under an Idempotency-Key."""
    headers = {"Idempotency-Key": key_of(key)}
    return (yield from fetched(Call("POST", path, given(params), headers, Body(json=body)), retries))


def dry_run(spec: Mapping[str, Any], retries: Retries) -> Flow[JSON]:
    """The resolved spec; nothing is written, so that it may be sent twice."""
    call = Call("POST", "/v1/jobs", {"dry_run": "true"}, body=Body(json=spec), patience=ANSWER_SECONDS)
    return (yield from fetched(call, retries))


def acted(identity: str, action: str, retries: Retries) -> Flow[JSON]:
    """Cancel, pause or resume; repeating it has no effect."""
    return (yield from fetched(Call("POST", f"/v1/jobs/{identity}/{action}"), retries))


def shown_report(identity: str, form: str, retries: Retries) -> Flow[str]:
    """A report for people, as text."""
    response = yield from request(Call("GET", f"/v1/jobs/{identity}/report", {"format": form}), retries)
    return response.text


def compared(identities: Iterable[str], retries: Retries) -> Flow[JSON]:
    """Several jobs side by side."""
    return (yield from fetched(Call("GET", "/v1/compare", {"jobs": ",".join(identities)}), retries))


def predicted(identity: str, rows: "Rows", compare: bool, retries: Retries) -> Flow[JSON]:
    """The answers of a model; nothing is written, so that it may be sent twice."""
    params = {"compare": "teacher"} if compare else {}
    headers = {"Content-Type": rows.media_type}
    body = Body(content=rows.content)
    call = Call("POST", f"/v1/models/{identity}/predict", params, headers, body, patience=ANSWER_SECONDS)
    return (yield from fetched(call, retries))


class Rows:
    """Rows for a model: the bytes of a file, and their media type."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.media_type = media_type

    @classmethod
    def of(cls, source: Any, media_type: str | None = None) -> "Rows":
        """Rows by input (arrays or lists), a list or frame of rows by column, a path, or the bytes of a file.

        Arrays go as npz, which keeps every bit. Raises Unreadable.
        """
        if is_frame(source):
            return cls(_json({"rows": _records(source)}), "application/json")
        if isinstance(source, Mapping):
            return cls._of_inputs(source)
        if isinstance(source, list):
            return cls(_json({"rows": source}), "application/json")
        if isinstance(source, bytes):
            return cls(source, media_type or "application/json")
        if hasattr(source, "dtype"):
            raise Unreadable(
                f"expected rows by input or by column, found {type(source).__name__} of the shape "
                f'{list(source.shape)}: name the input, such as {{"x": rows}}'
            )
        path = expanded(source)
        kind = media_type or _ROWS.get(path.suffix.lower())
        if kind is None or not path.is_file():
            raise Unreadable(
                f"expected a file of rows ({', '.join(sorted(_ROWS))}), found {path.name}: check its path and name"
            )
        return cls(path.read_bytes(), kind)

    @classmethod
    def _of_inputs(cls, inputs: Mapping[str, Any]) -> "Rows":
        if any(hasattr(each, "dtype") for each in inputs.values()):
            from stillhouse.sources.arrays import as_arrays, npz

            with npz(as_arrays(inputs)) as file:
                return cls(file.read(), "application/x-npz")
        return cls(_json({"inputs": dict(inputs)}), "application/json")


def _json(document: Any) -> bytes:
    try:
        return json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"expected rows of numbers, texts and None, found: {error}: convert them") from None


def _records(frame: Any) -> list[dict[str, Any]]:
    """The rows of a frame by column, without its index; what is missing is None."""
    with reading("the frame"):
        rows = frame.to_dict("records")
    return [{str(name): None if is_missing(each) else plain(each) for name, each in row.items()} for row in rows]


def without_student(job: Mapping[str, Any]) -> tuple[int, str, str]:
    """What is said where a job has no student: the arguments of Conflict."""
    detail = (
        f"expected a job that has made a model, found {job.get('kind')} job {job.get('id')} {job.get('state')}: wait "
        "for its success, or ask a job that trains"
    )
    return 409, "no_student", detail
